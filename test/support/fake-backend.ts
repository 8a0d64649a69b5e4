import { cp, mkdir, open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  Backend,
  BackendFeatures,
  BackendProbe,
  Copied,
  CopySource,
  CopyWish,
  MountIntent,
  VolumePlace,
} from '../../src/backends/backend.ts';
import { isErrno } from '../../src/host/mounts.ts';
import type { Mount } from '../../src/host/mountinfo.ts';
import type { CallContext, VolumeCondition } from '../../src/model/csi-driver.ts';
import { StorageError } from '../../src/model/errors.ts';
import type { UsageEntry } from '../../src/model/node-driver.ts';
import type { BackendName, Consistency, VolumeSpec } from '../../src/model/volume.ts';

/** The mounts of a machine that has none: what fake backends put there, for everybody to see. */
export class FakeMounts {
  readonly #mounts = new Map<string, Mount>();
  #nextId = 100;

  read = async (): Promise<readonly Mount[]> => {
    const root = this.#mount('/', '/', '/dev/root', 1, 0);
    return [root, ...this.#mounts.values()];
  };

  add(mountPoint: string, root: string, source = '/dev/root'): void {
    this.#mounts.set(mountPoint, this.#mount(mountPoint, root, source, (this.#nextId += 1), 1));
  }

  remove(mountPoint: string): void {
    this.#mounts.delete(mountPoint);
  }

  has(mountPoint: string): boolean {
    return this.#mounts.has(mountPoint);
  }

  at(root: string): readonly string[] {
    return [...this.#mounts.values()].filter((mount) => mount.root === root).map((mount) => mount.mountPoint);
  }

  #mount(mountPoint: string, root: string, source: string, id: number, parentId: number): Mount {
    const device = '8:1';
    return { id, parentId, device, root, mountPoint, options: [], fsType: 'ext4', source, superOptions: [] };
  }
}

/** A backend that makes real files and pretends to mount. What it does at each verb can be changed from outside. */
export class FakeBackend implements Backend {
  readonly name: BackendName;
  readonly features: BackendFeatures;
  readonly mounts: FakeMounts;
  probed: BackendProbe = { usable: true, enforcesLimit: true, detail: 'as the test says' };
  /** runs in the middle of a create: half of the data is there */
  duringCreate: (place: VolumePlace, spec: VolumeSpec, call: CallContext) => Promise<void> = async () => {};
  duringStage: (intent: MountIntent) => Promise<void> = async () => {};
  duringPublish: (target: MountIntent) => Promise<void> = async () => {};
  /** runs in the middle of a growth, after `grown` tells of it */
  duringGrow: (spec: VolumeSpec) => Promise<void> = async () => {};
  /** runs when the data has grown, and what is mounted has not */
  afterGrow: (spec: VolumeSpec) => Promise<void> = async () => {};
  /** runs in the middle of a copy: half of the data is there */
  duringCopy: (source: CopySource, wish: CopyWish, call: CallContext) => Promise<void> = async () => {};
  /** whether the kernel lets nothing grow that is mounted */
  growsMounted = true;
  /** whether copies are instant */
  isSharing = true;
  consistency: Consistency = 'atomic';
  /** sizes that volumes were given by growth, in the order in which that happened */
  readonly grown: (readonly [id: string, sizeBytes: bigint])[] = [];
  readonly grownMounted: string[] = [];
  readonly reshaped: (readonly [from: VolumeSpec, to: VolumeSpec])[] = [];
  readonly released: string[] = [];
  /** what every volume and snapshot has written; unset: not known */
  written: bigint | undefined;
  readonly #sizes = new Map<string, bigint>();
  /** what was taken apart before it was removed */
  readonly discarded: string[] = [];
  /** volumes whose devices were let go of while their pool was away */
  readonly detached: string[] = [];

  constructor(name: BackendName, mounts: FakeMounts) {
    this.name = name;
    this.mounts = mounts;
    this.features =
      name === 'directory'
        ? { fsTypes: [], block: false, thick: false }
        : { fsTypes: ['ext4', 'xfs', 'btrfs'], block: true, thick: true };
  }

  async probe(): Promise<BackendProbe> {
    return this.probed;
  }

  initialBytes(): bigint {
    return 0n;
  }

  async create(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<void> {
    const data = dataOf(place, spec);
    if (spec.backend === 'directory') await mkdir(data, { recursive: true });
    else await writeFile(data, 'half');
    await this.duringCreate(place, spec, call);
    await writeFile(spec.backend === 'directory' ? join(data, '.whole') : data, 'whole');
  }

  async stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent): Promise<void> {
    await this.duringStage(intent);
    await mkdir(intent.path, { recursive: true });
    this.mounts.add(intent.path, dataOf(place, { ...spec, backend: 'directory' }));
  }

  async unstage(_place: VolumePlace, _spec: VolumeSpec, stagingPath: string): Promise<void> {
    this.mounts.remove(stagingPath);
  }

  async publish(
    place: VolumePlace,
    spec: VolumeSpec,
    _stagingPath: string,
    target: MountIntent,
  ): Promise<void> {
    if (spec.accessType === 'block') await (await open(target.path, 'a')).close();
    else await mkdir(target.path, { recursive: true });
    this.mounts.add(target.path, dataOf(place, { ...spec, backend: 'directory' }));
    await this.duringPublish(target);
  }

  async users(place: VolumePlace, spec: VolumeSpec): Promise<readonly string[]> {
    const root = dataOf(place, { ...spec, backend: 'directory' });
    return this.mounts.at(root).map((path) => `mounted at ${path}`);
  }

  async release(place: VolumePlace): Promise<void> {
    this.released.push(place.path);
  }

  async usage(_place: VolumePlace, spec: VolumeSpec): Promise<readonly UsageEntry[]> {
    return [{ unit: 'BYTES', total: spec.sizeBytes, available: spec.sizeBytes, used: 0n }];
  }

  async condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition> {
    const isThere = await stat(dataOf(place, spec)).then(
      () => true,
      () => false,
    );
    return { abnormal: !isThere, message: isThere ? 'fine' : 'its data is gone' };
  }

  // optional verbs are properties, so that a test can take them away

  grow?: NonNullable<Backend['grow']> = async (place, spec) => {
    await stat(dataOf(place, spec));
    this.grown.push([spec.id, spec.sizeBytes]);
    await this.duringGrow(spec);
    this.#sizes.set(spec.id, spec.sizeBytes);
    await this.afterGrow(spec);
    const isMounted = (await this.users(place, spec)).length > 0;
    return { isMountBehind: isMounted && !this.growsMounted };
  };

  growMounted?: NonNullable<Backend['growMounted']> = async (_place, _spec, volumePath) => {
    if (!this.growsMounted) throw new StorageError('cannot-grow-now', `${volumePath} cannot grow now`);
    this.grownMounted.push(volumePath);
  };

  sharesBlocks?: NonNullable<Backend['sharesBlocks']> = async () => this.isSharing;

  capture?: NonNullable<Backend['capture']> = (source, target, wish, call) =>
    this.#copy(source, target, wish, call);

  createFrom?: NonNullable<Backend['createFrom']> = (source, place, _spec, wish, call) =>
    this.#copy(source, place, wish, call);

  /** as an image tells its own size; unset: never grown */
  sizeOf?: NonNullable<Backend['sizeOf']> = async (_place, { id }) => this.#sizes.get(id);

  async writtenBytes(): Promise<bigint | undefined> {
    return this.written;
  }

  discard?: NonNullable<Backend['discard']> = async (place) => {
    this.discarded.push(place.path);
  };

  reshape?: NonNullable<Backend['reshape']> = async (_place, from, to) => {
    this.reshaped.push([from, to]);
  };

  /** Half of the data under another name, then all of it under its own. */
  async #copy(source: CopySource, target: VolumePlace, wish: CopyWish, call: CallContext): Promise<Copied> {
    if (this.consistency === 'loose' && source.isLive && !wish.allowsLoose) {
      throw new StorageError('not-consistent', `volume ${source.spec.id} is in use; stop its pod`);
    }
    const data = dataOf(target, source.spec);
    await wish.mayBegin;
    await writeFile(`${data}.half`, 'half');
    await this.duringCopy(source, wish, call);
    await cp(dataOf(source.place, source.spec), data, { recursive: true });
    await rm(`${data}.half`);
    return { consistency: source.isLive ? this.consistency : 'quiet' };
  }

  /** The host's words for targets, on the same pretended mounts. */
  readonly targets = {
    ensureUnmounted: async (path: string): Promise<void> => this.mounts.remove(path),
    detachByName: async (volumeId: string): Promise<void> => {
      this.detached.push(volumeId);
    },
    removeTarget: async (path: string): Promise<void> => {
      try {
        const found = await stat(path);
        if (found.isFile() && found.size > 0) throw new StorageError('bad-target', `${path} is not empty`);
        await rm(path, { recursive: found.isDirectory() });
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error;
      }
    },
  };
}

export function dataOf(place: VolumePlace, spec: Pick<VolumeSpec, 'backend'>): string {
  return join(place.path, spec.backend === 'directory' ? 'data' : 'image');
}
