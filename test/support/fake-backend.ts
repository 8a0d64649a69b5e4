import { mkdir, open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  Backend,
  BackendFeatures,
  BackendProbe,
  MountIntent,
  VolumePlace,
} from '../../src/backends/backend.ts';
import { isErrno } from '../../src/host/mounts.ts';
import type { Mount } from '../../src/host/mountinfo.ts';
import type { CallContext, VolumeCondition } from '../../src/model/csi-driver.ts';
import { StorageError } from '../../src/model/errors.ts';
import type { UsageEntry } from '../../src/model/node-driver.ts';
import type { BackendName, VolumeSpec } from '../../src/model/volume.ts';

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
  readonly released: string[] = [];
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
