import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { PublishRequest } from '../../src/model/node-driver.ts';
import type { Publication } from '../../src/volumes/published/publications.ts';
import {
  inlineId,
  inlineRequest,
  inlineTarget,
  podFolder as podFolderBelow,
  podUid,
} from './inline-request.ts';
import { callFor, GiB, until, VolumeLab, type LabProcess, type StartOptions } from './volume-lab.ts';

/** The pod's volume, and the pod. */
export const id: string = inlineId;
export const uid: string = podUid;
const inlineMaxBytes = 2n * GiB;

/** The present test's. */
export let lab: VolumeLab;
export let process: LabProcess;

/** A node with one pool, inline volumes switched on, anew for each test of the file. */
export function useInlineLab(): void {
  beforeEach(async () => {
    lab = await VolumeLab.make('one');
    // kubelet always has Loam's own pod
    await mkdir(lab.kubeletPath('pods', 'loam'), { recursive: true });
    await restart();
  });
  afterEach(() => lab.clear());
}

export const start = (options: StartOptions = {}): Promise<LabProcess> =>
  lab.start({ inlineMaxBytes, ...options });

/** Another process takes over; the one before is left as it is. */
export async function restart(options: StartOptions = {}): Promise<void> {
  process = await start(options);
}

export const podFolder = (): string => podFolderBelow(lab.kubeletPath());
export const target = (pod = uid): string => inlineTarget(lab.kubeletPath(), pod);
export const stagingPath = (volumeId = id): string => join(lab.stagingFolder, volumeId);
export const request = (
  attributes: Readonly<Record<string, string>> = { size: '1Gi' },
  changes: Partial<PublishRequest> = {},
): PublishRequest => inlineRequest(lab.kubeletPath(), attributes, changes);

export async function publish(wanted = request()): Promise<void> {
  await mkdir(dirname(wanted.targetPath), { recursive: true });
  await process.node.publish(wanted, callFor());
}

export const unpublish = (targetPath = target(), volumeId = id): Promise<void> =>
  process.node.unpublish({ volumeId, targetPath }, callFor());

export const promised = (): bigint | undefined => process.pools.open()[0]?.promisedBytes();

/** What an earlier process of this boot remembered of the pod's target. */
export const published = (): Publication => ({
  kind: 'publish',
  volumeId: id,
  poolUuid: 'x',
  path: target(),
  readonly: false,
  accessMode: 'SINGLE_NODE_MULTI_WRITER',
  accessType: 'mount',
  fsType: '',
  mountFlags: [],
  mountsNothing: false,
});

/** Nothing on disk, nothing counted, nothing mounted. */
export async function expectNothing(): Promise<void> {
  expect(await lab.namesIn('volumes')).toEqual([]);
  await until(async () => (await lab.namesIn('trash')).length === 0);
  await until(() => promised() === 0n);
  expect(await lab.mounts.read()).toHaveLength(1);
  expect(existsSync(stagingPath())).toBe(false);
}
