import { afterEach, beforeEach } from 'vitest';
import type { PublishRequest } from '../../../src/model/node-driver.ts';
import {
  callFor,
  createRequest,
  mountCapability,
  VolumeLab,
  type LabProcess,
} from '../../support/volume-lab.ts';

/** The present test's. */
export let lab: VolumeLab;
export let process: LabProcess;

/** A node with one pool that has volume `a`, a directory, anew for each test of the file. */
export function useNodeLab(): void {
  beforeEach(async () => {
    lab = await VolumeLab.make('one');
    process = await lab.start();
    await process.service.createVolume(createRequest('a'), callFor());
  });
  afterEach(() => lab.clear());
}

/** The process ends; while nothing runs, something may happen; then another begins. */
export async function restart(meanwhile: () => Promise<void> = async () => {}): Promise<void> {
  await process.stop();
  await meanwhile();
  process = await lab.start();
}

function request(changes: Partial<PublishRequest>): PublishRequest {
  return {
    volumeId: 'a',
    stagingTargetPath: lab.kubeletPath('stage'),
    targetPath: lab.kubeletPath('pod-1'),
    capability: mountCapability,
    volumeContext: {},
    readonly: false,
    ...changes,
  };
}

/** What kubelet calls, for volume `a` and the pod `pod-1` unless told. */
export const stage = (changes: Partial<PublishRequest> = {}): Promise<void> =>
  process.node.stage(request(changes), callFor());
export const publish = (changes: Partial<PublishRequest> = {}): Promise<void> =>
  process.node.publish(request(changes), callFor());
export const unpublish = (targetPath = lab.kubeletPath('pod-1'), volumeId = 'a'): Promise<void> =>
  process.node.unpublish({ volumeId, targetPath }, callFor());
export const unstage = (stagingTargetPath = lab.kubeletPath('stage'), volumeId = 'a'): Promise<void> =>
  process.node.unstage({ volumeId, stagingTargetPath }, callFor());

export const reason = (name: string): { readonly reason: string } => ({ reason: name });
