import type { FakeBackend } from '../../support/fake-backend.ts';
import { stagingOf } from '../../support/used-volumes.ts';
import {
  callFor,
  createRequest,
  type LabProcess,
  type StartOptions,
  type VolumeLab,
} from '../../support/volume-lab.ts';

/** A process on the lab's folders that has made volume `pvc-a` of 1 GiB. */
export async function startWithVolume(
  lab: VolumeLab,
  parameters: Readonly<Record<string, string>>,
  options: StartOptions = {},
): Promise<LabProcess> {
  const process = await lab.start(options);
  await process.service.createVolume(createRequest('pvc-a', { parameters }), callFor());
  return process;
}

/** Stages a volume as kubelet does, and tells where. */
export async function stage(lab: VolumeLab, { node }: LabProcess, volumeId = 'pvc-a'): Promise<string> {
  const request = stagingOf(lab, volumeId);
  await node.stage(request, callFor());
  return request.stagingTargetPath;
}

/** What the first pool has promised to volumes and snapshots. */
export const promised = ({ pools }: LabProcess): bigint | undefined => pools.open()[0]?.promisedBytes();

/**
 * Has a backend make full copies that stop in their middle, so many bytes copied, until they are told to go on.
 * Given up, they fail as a real one does.
 */
export function pauseCopies(
  backend: FakeBackend,
  copiedBytes: bigint,
): { readonly begun: Promise<void>; readonly count: () => number; readonly finish: () => void } {
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const { promise: going, resolve: finish } = Promise.withResolvers<void>();
  let count = 0;
  backend.isSharing = false;
  backend.duringCopy = async (_source, wish, { signal }) => {
    count += 1;
    wish.onProgress?.(copiedBytes);
    begin();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const killed = (): void => reject(new Error('cp was killed'));
    if (signal.aborted) killed();
    signal.addEventListener('abort', killed, { once: true });
    await Promise.race([going, aborted]);
  };
  return { begun, count: () => count, finish };
}
