import { readdirSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MountIntent, VolumePlace } from '../../src/backends/backend.ts';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { isAtOrBelow } from '../../src/host/mountinfo.ts';
import { checkMountFlags } from '../../src/host/mount-flags.ts';
import { ensureTargetDirectory, removeTarget } from '../../src/host/targets.ts';
import { StorageError } from '../../src/model/errors.ts';
import type { VolumeSpec } from '../../src/model/volume.ts';
import { NodeService } from '../../src/volumes/node-service.ts';
import { FakeMounts } from './fake-backend.ts';
import { fingerprint } from './scratch-directory.ts';
import { refusal, send, serveDrivers } from './served-driver.ts';
import type { FieldPath, Rpc } from './rpc-fields.ts';
import { callFor, createRequest, VolumeLab, type LabProcess } from './volume-lab.ts';

/**
 * Directories as they are made, copied and removed on a real node, whose mounts are pretended: no root is needed, and a path that a
 * test makes up is never mounted over. Kubelet may name any path outside of the pools; here only those in `cage` are touched.
 */
class CagedDirectories extends DirectoryBackend {
  readonly mounts = new FakeMounts();
  readonly #cage: string;

  constructor(cage: string) {
    super();
    this.#cage = cage;
  }

  override async stage(place: VolumePlace, _spec: VolumeSpec, intent: MountIntent): Promise<void> {
    await this.#pretend(place, intent);
  }

  override async publish(
    place: VolumePlace,
    _spec: VolumeSpec,
    _staging: string,
    target: MountIntent,
  ): Promise<void> {
    await this.#pretend(place, target);
  }

  override async unstage(_place: VolumePlace, _spec: VolumeSpec, stagingPath: string): Promise<void> {
    this.mounts.remove(stagingPath);
  }

  override async users(place: VolumePlace): Promise<readonly string[]> {
    return this.mounts.at(join(place.path, 'data'));
  }

  readonly targets = {
    ensureUnmounted: async (path: string): Promise<void> => this.mounts.remove(path),
    detachByName: async (): Promise<void> => {},
    removeTarget: async (path: string): Promise<void> => {
      this.#refuseOutside(path);
      await removeTarget(path);
    },
  };

  async #pretend(place: VolumePlace, intent: MountIntent): Promise<void> {
    checkMountFlags(intent.mountFlags, undefined);
    this.#refuseOutside(intent.path);
    const target = await ensureTargetDirectory(intent.path, { outside: [] });
    this.mounts.add(target, join(place.path, 'data'));
  }

  #refuseOutside(path: string): void {
    if (!isAtOrBelow(path, this.#cage)) throw new StorageError('bad-target', `${path} is not for tests`);
  }
}

/** One of the answers that the wire brought. */
export interface Answer {
  /** 0: served */
  readonly code: number;
  readonly details: string;
  readonly response: object;
}

/**
 * The real services behind a real socket on a pool of directories, for whoever sends what no kubelet would. Beside the pool lie files of
 * somebody else; in it the volume `pvc-mine` with its snapshot `snap.mine`, as nobody may touch them.
 */
export class HostileNode implements AsyncDisposable {
  readonly lab: VolumeLab;
  readonly process: LabProcess;
  readonly #served: Awaited<ReturnType<typeof serveDrivers>>;
  readonly #around: string;
  readonly #known: ReadonlySet<string>;
  readonly #made = new Set<string>();

  private constructor(lab: VolumeLab, process: LabProcess, served: Awaited<ReturnType<typeof serveDrivers>>) {
    this.lab = lab;
    this.process = process;
    this.#served = served;
    this.#around = fingerprint(this.outsidePath);
    this.#known = new Set(['inline', ...this.#folders()]);
  }

  static async start(): Promise<HostileNode> {
    const lab = await VolumeLab.make();
    await mkdir(join(lab.root, 'outside/canary'), { recursive: true });
    await writeFile(join(lab.root, 'outside/canary/file'), 'alive');
    const backend = new CagedDirectories(lab.kubeletPath());
    const process = await lab.start({ backends: [backend] });
    const mine = createRequest('pvc-mine', { parameters: { backend: 'directory', limit: 'advisory' } });
    await process.service.createVolume(mine, callFor());
    await writeFile(join(lab.poolPath(), 'volumes/pvc-mine/data/file'), 'kept');
    const node = new NodeService(
      process.environment,
      { nodeId: 'node-a', maxVolumesPerNode: 0 },
      { maxBytes: 1n << 20n, stagingFolder: lab.stagingFolder },
      backend.targets,
    );
    const served = await serveDrivers({ server: { controller: process.service, node } });
    return new HostileNode(lab, process, served);
  }

  get outsidePath(): string {
    return join(this.lab.root, 'outside');
  }

  /** Sends a request as it is. Five seconds without an answer are DEADLINE_EXCEEDED. */
  async call(rpc: Pick<Rpc, 'service' | 'method'>, request: object): Promise<Answer> {
    const service = rpc.service.toLowerCase() as 'identity' | 'controller' | 'node';
    let response: object = {};
    const answered = send(this.#served.clients[service], rpc.method, request).then((value) => {
      response = value;
    });
    const failed = await answered.then(
      () => undefined,
      () => refusal(answered),
    );
    if (failed === undefined) this.#note(rpc.method, request, response);
    return { code: failed?.code ?? 0, details: failed?.details ?? '', response };
  }

  /** What lies in the pool and should not, or changed outside; empty: all is well. */
  async findHarm(): Promise<string[]> {
    const harm: string[] = [];
    if (fingerprint(this.outsidePath) !== this.#around) harm.push('files outside of the pool changed');
    for (const name of this.#folders()) if (!this.#known.has(name)) harm.push(`${name} is new`);
    for (const folder of ['volumes', 'snapshots'] as const) {
      for (const name of await this.lab.namesIn(folder))
        if (!this.#made.has(name) && name !== 'pvc-mine') harm.push(`${folder}/${name}`);
    }
    const mine = join(this.lab.poolPath(), 'volumes/pvc-mine/data');
    const names = await readdir(mine).catch((error: unknown) => [String(error)]);
    if (names.join() !== 'file') harm.push(`pvc-mine holds ${names.join(', ')}`);
    return harm;
  }

  /** The log's lines since the start. */
  get logLines(): readonly object[] {
    return this.#served.logLines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#served[Symbol.asyncDispose]();
    await this.lab.clear();
  }

  /** What the process itself has made. */
  #folders(): string[] {
    const { root } = this.lab;
    return [...readdirSync(root), ...readdirSync(this.lab.poolPath()).map((name) => `one/${name}`)];
  }

  /** What was made by a call that was served may be there. */
  #note(method: string, request: object, response: object): void {
    const { volume, snapshot } = response as {
      readonly volume?: { readonly volumeId: string };
      readonly snapshot?: { readonly snapshotId: string };
    };
    if (method === 'CreateVolume' && volume !== undefined) this.#made.add(volume.volumeId);
    if (method === 'CreateSnapshot' && snapshot !== undefined) this.#made.add(snapshot.snapshotId);
    // a pod's inline volume is made by its publish
    if (method === 'NodePublishVolume') this.#made.add((request as { readonly volumeId: string }).volumeId);
  }
}

/** The field of a request, for the names of tests. */
export function fieldName(path: FieldPath): string {
  return path.join('.').replaceAll('.[]', '[]').replaceAll('.{', '{');
}
