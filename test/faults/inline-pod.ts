import { createHash, randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { inlineRequest, inlineTarget, podFolder } from '../support/inline-request.ts';
import { podInfoKeys } from '../../src/model/node-driver.ts';
import type { FaultWorld } from './fault-world.ts';
import { compareFiles, writeSynced } from './kept-volume.ts';
import { insistently } from './patience.ts';

let count = 0;

/** A pod with a volume that only it describes: what it wrote is there until it ends, also for its next container; then nothing is. */
export async function runInlinePod({ kubelet, kubeletPath, user }: FaultWorld): Promise<void> {
  count += 1;
  const uid = `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`;
  const volumeId = `csi-${createHash('sha256').update(`${user.driverName} ${uid}`).digest('hex')}`;
  const targetPath = inlineTarget(kubeletPath, uid);
  const asked = inlineRequest(kubeletPath, { size: '16Mi' }, { volumeId, targetPath });
  const request = { ...asked, volumeContext: { ...asked.volumeContext, [podInfoKeys.uid]: uid } };
  const call = () => ({ signal: AbortSignal.timeout(20_000), deadlineMs: Date.now() + 20_000 });
  const publish = () =>
    insistently(`inline volume ${volumeId} to be published`, () => kubelet.publish(request, call()));
  await mkdir(dirname(targetPath), { recursive: true });
  await publish();
  const sum = await writeSynced(targetPath, 'scratch', randomBytes(64 << 10));
  // kubelet asks again whenever it has forgotten
  await publish();
  await compareFiles(`inline volume ${volumeId}`, targetPath, new Map([['scratch', sum]]));
  await insistently(`inline volume ${volumeId} to be unpublished`, () =>
    kubelet.unpublish({ volumeId, targetPath }, call()),
  );
  await rm(podFolder(kubeletPath, uid), { recursive: true });
}
