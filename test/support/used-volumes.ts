import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CreateVolumeRequest } from '../../src/model/csi-driver.ts';
import { callFor, mountCapability, type LabProcess, type VolumeLab } from './volume-lab.ts';

/** Parameters that say whose the volume is: the claim `data` of `team`. */
export const claimOfTeam = {
  'csi.storage.k8s.io/pvc/name': 'data',
  'csi.storage.k8s.io/pvc/namespace': 'team',
  'loam.dev/claim-uid': 'uid-1',
};

/** What kubelet asks of a stage. */
export function stagingOf(lab: VolumeLab, volumeId = 'pvc-a', capability = mountCapability) {
  const stagingTargetPath = lab.kubeletPath(`staging-${volumeId}`);
  return { volumeId, stagingTargetPath, capability, volumeContext: {} };
}

/** Makes a volume of directories that a pod has written a file to and has left. */
export async function makeUsed(
  lab: VolumeLab,
  process: LabProcess,
  made: CreateVolumeRequest,
  file: { readonly name: string; readonly text: string },
): Promise<void> {
  await process.service.createVolume(made, callFor());
  await process.node.stage(stagingOf(lab, made.name), callFor());
  await writeFile(join(lab.poolPath(), 'volumes', made.name, 'data', file.name), file.text);
  await process.node.unstage(stagingOf(lab, made.name), callFor());
}
