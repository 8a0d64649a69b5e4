import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CreateVolumeRequest, DriverVolume } from '../../../src/model/csi-driver.ts';
import type { ContentSource } from '../../../src/model/volume.ts';
import {
  callFor,
  createRequest,
  type LabProcess,
  type StartOptions,
  type VolumeLab,
} from '../../support/volume-lab.ts';
import { startWithVolume } from './lab-volume.ts';

/** A process with an image `pvc-a` in which something is written. */
export async function startWithSource(
  lab: VolumeLab,
  parameters: Readonly<Record<string, string>> = {},
  options: StartOptions = {},
): Promise<LabProcess> {
  const process = await startWithVolume(lab, parameters, options);
  await writeFile(imageOf(lab, 'pvc-a'), 'precious');
  return process;
}

export function imageOf(lab: VolumeLab, volumeId: string): string {
  return join(lab.poolPath(), 'volumes', volumeId, 'image');
}

export const ofVolume = (volumeId = 'pvc-a'): ContentSource => ({ kind: 'volume', volumeId });

/** A copy `pvc-b` of `pvc-a` by a class that says nothing. */
export function copyRequest(changes: Partial<CreateVolumeRequest> = {}): CreateVolumeRequest {
  return createRequest('pvc-b', { parameters: {}, contentSource: ofVolume(), ...changes });
}

/** Asks for a volume, by a caller who listens for so long. */
export function create(
  { service }: LabProcess,
  request: CreateVolumeRequest,
  timeoutMs?: number,
): Promise<DriverVolume> {
  return service.createVolume(request, callFor(timeoutMs));
}

/** Takes the snapshot `snapshot-1` of `pvc-a`, to make volumes of. */
export async function snapshotOf({ service }: LabProcess): Promise<ContentSource> {
  const wish = { name: 'snapshot-1', sourceVolumeId: 'pvc-a', parameters: {} };
  return { kind: 'snapshot', snapshotId: (await service.createSnapshot(wish, callFor())).snapshotId };
}
