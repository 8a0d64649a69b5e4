import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { CopySource, VolumePlace } from '../../src/backends/backend.ts';
import { BtrfsBackend } from '../../src/backends/btrfs/backend.ts';
import type { CallContext } from '../../src/model/csi-driver.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import type { VolumeSpec } from '../../src/model/volume.ts';
import { ScratchPool } from './scratch-pool.ts';

/** A volume of the lab: what the backend is told of it. */
export interface LabVolume {
  readonly place: VolumePlace;
  readonly spec: VolumeSpec;
  /** what a pod has */
  readonly path: string;
}

/** The btrfs backend alone on a disk of its own, with quota on unless told. */
export class BtrfsLab implements AsyncDisposable {
  readonly disk: ScratchPool;
  readonly backend: BtrfsBackend;
  #count = 0;

  constructor(options: { readonly sizeMiB?: number; readonly quota?: boolean } = {}) {
    this.disk = ScratchPool.make('btrfs', options.sizeMiB ?? 1024);
    this.backend = new BtrfsBackend({ poolPaths: [this.disk.path], quotaPaths: [this.disk.path] });
    // whoever runs in a pod is not root
    chmodSync(this.disk.basePath, 0o755);
    chmodSync(this.disk.path, 0o755);
    if (options.quota !== false) this.btrfs('quota', 'enable', this.disk.path);
  }

  get call(): CallContext {
    return { signal: AbortSignal.timeout(60_000) };
  }

  btrfs(...args: readonly string[]): string {
    return execFileSync('btrfs', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** A place for a volume or snapshot, and a spec for it. */
  plan(sizeBytes: bigint, changes: Partial<VolumeSpec> = {}): LabVolume {
    this.#count += 1;
    const id = volumeIdOf(`pvc-${this.#count}`);
    const place = { path: this.disk.at(id) };
    mkdirSync(place.path);
    const spec: VolumeSpec = {
      id,
      backend: 'btrfs',
      accessType: 'mount',
      sizeBytes,
      provisioning: 'thin',
      limit: 'enforced',
      mode: 0o777,
      ...changes,
    };
    return { place, spec, path: join(place.path, 'data') };
  }

  async make(sizeBytes: bigint, changes: Partial<VolumeSpec> = {}): Promise<LabVolume> {
    const volume = this.plan(sizeBytes, changes);
    await this.backend.create(volume.place, volume.spec, this.call);
    return volume;
  }

  /** A snapshot of a volume, as of now. */
  async snapshot(source: LabVolume, changes: Partial<CopySource> = {}): Promise<LabVolume> {
    const snapshot = this.plan(source.spec.sizeBytes);
    const copied = { ...source, isLive: true, ...changes };
    await this.backend.capture(copied, snapshot.place, { allowsLoose: true }, this.call);
    return snapshot;
  }

  /** All subvolumes of the disk, by their paths. */
  subvolumes(): string[] {
    return lines(this.btrfs('subvolume', 'list', this.disk.path)).map((line) =>
      line.replace(/^.* path /, ''),
    );
  }

  /** The quota groups but the top's, once deleted subvolumes are really gone. */
  async qgroups(): Promise<string[]> {
    this.btrfs('filesystem', 'sync', this.disk.path);
    this.btrfs('subvolume', 'sync', this.disk.path);
    const end = Date.now() + 5000;
    let found = this.#qgroups();
    while (found.length > 0 && Date.now() < end) {
      await delay(50);
      found = this.#qgroups();
    }
    return found;
  }

  get sysPath(): string {
    const uuid = execFileSync('findmnt', ['-no', 'UUID', this.disk.path], { encoding: 'utf8' }).trim();
    return join('/sys/fs/btrfs', uuid);
  }

  #qgroups(): string[] {
    return readdirSync(join(this.sysPath, 'qgroups')).filter(
      (name) => /^\d+_\d+$/.test(name) && name !== '0_5',
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disk.remove();
  }
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

/** Writes until nothing more is taken, or so much was written. @returns bytes taken, and what stopped it */
export function fill(path: string, maximumBytes: number): { bytes: number; stoppedBy: string | undefined } {
  const chunk = Buffer.alloc(1 << 18, 'x');
  let fd: number | undefined;
  let bytes = 0;
  try {
    fd = openSync(path, 'a');
    while (bytes < maximumBytes) bytes += writeSync(fd, chunk);
  } catch (error) {
    return { bytes, stoppedBy: nameOf(error) };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return { bytes, stoppedBy: undefined };
}

/** libuv has no name for EDQUOT. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error) || !('errno' in error)) return String(error);
  return error.errno === -122 ? 'EDQUOT' : String(error.code);
}

/** Runs a shell command as nobody, as a pod's process would. */
export function asNobody(script: string, ...args: readonly string[]): { ok: boolean; output: string } {
  try {
    const output = execFileSync(
      'setpriv',
      ['--reuid=65534', '--regid=65534', '--clear-groups', '--', 'sh', '-c', script, 'sh', ...args],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    );
    return { ok: true, output };
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    return { ok: false, output: said };
  }
}
