import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import {
  dataName,
  imageName,
  type Backend,
  type MountIntent,
  type VolumePlace,
} from '../../src/backends/backend.ts';
import { mountAt, readMounts, type Mount } from '../../src/host/mountinfo.ts';
import { ensureUnmounted } from '../../src/host/mounts.ts';
import { removeTarget } from '../../src/host/targets.ts';
import type { CallContext } from '../../src/model/csi-driver.ts';
import type { VolumeSpec } from '../../src/model/volume.ts';
import type { ScratchPool } from '../support/scratch-pool.ts';

/** A volume that a test works with: its places, and the verbs as volumes/ calls them. */
export interface Subject {
  readonly place: VolumePlace;
  readonly spec: VolumeSpec;
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly call: CallContext;
  readonly create: () => Promise<void>;
  readonly stage: (intent?: Partial<MountIntent>) => Promise<void>;
  readonly publish: (intent?: Partial<MountIntent>) => Promise<void>;
  readonly unpublish: (path?: string) => Promise<void>;
  readonly unstage: () => Promise<void>;
  readonly users: () => Promise<readonly string[]>;
  /** where the data or the image is */
  readonly dataPath: string;
}

export type MakeSubject = (change?: Partial<VolumeSpec>) => Subject;

export function makeSubject(pool: ScratchPool, backend: Backend, spec: VolumeSpec): Subject {
  const place = { path: pool.at('volumes', spec.id) };
  const stagingPath = join(pool.basePath, 'staging', spec.id, 'globalmount');
  const targetPath = join(pool.basePath, 'pods', spec.id, 'mount');
  const call = { signal: AbortSignal.timeout(60_000) };
  mkdirSync(place.path, { recursive: true });
  mkdirSync(stagingPath, { recursive: true });
  const intent = (path: string, change: Partial<MountIntent> = {}): MountIntent => ({
    path,
    readonly: false,
    mountFlags: [],
    ...change,
  });
  return {
    place,
    spec,
    stagingPath,
    targetPath,
    call,
    dataPath: join(place.path, spec.backend === 'loopback' ? imageName : dataName),
    create: () => backend.create(place, spec, call),
    stage: (change) => backend.stage(place, spec, intent(stagingPath, change), call),
    publish: (change) => backend.publish(place, spec, stagingPath, intent(targetPath, change), call),
    unpublish: async (path = targetPath) => {
      await ensureUnmounted(path, call.signal);
      await removeTarget(path);
    },
    unstage: () => backend.unstage(place, spec, stagingPath, call),
    users: () => backend.users(place, spec),
  };
}

export async function topMount(path: string): Promise<Mount | undefined> {
  return mountAt(await readMounts(), path);
}

export function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Whoever had it open may take a moment to be gone: udev looks at devices too. */
export async function expectUnused(users: () => Promise<readonly string[]>): Promise<void> {
  await expect.poll(users, { timeout: 5000, interval: 20 }).toEqual([]);
}
