import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolumeClaim, VolumeSnapshot } from '../kube/objects.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { cloningFinalizer, nodeLabel, restoringFinalizer } from '../claims/annotations.ts';
import { describeSource, isToBeMadeOf, type SourceRef } from '../claims/data-source.ts';
import { isOnNode, type OwnSide } from '../claims/volume-facts.ts';
import { isOutOfReach, type SourceProtection } from './protect-source.ts';
import type { Watches } from './watches.ts';

interface SweepOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly protection: SourceProtection;
  readonly own: OwnSide;
  readonly log: Log;
}

/**
 * Takes finalizers off sources that no claim waits for any more: a process died between the last copy and this. Claims on this node
 * are known anyway; snapshots are listed only when something may be left of them, which is at the start and after a failure.
 */
export async function sweepProtection(options: SweepOptions, signal: AbortSignal): Promise<void> {
  const { protection, log } = options;
  try {
    const left = leftClaims(options);
    if (protection.hasLeftovers) {
      left.push(...(await leftSnapshots(options, signal)));
      protection.hasLeftovers = false;
    }
    for (const { ref, isHere } of left) {
      if (protection.isHeld(ref)) continue;
      if (await isWanted(options.api, ref, signal)) {
        // a claim that this process may never begin
        if (isHere) protection.hasLeftovers = true;
        continue;
      }
      await protection.end(ref);
      log.info({ source: describeSource(ref) }, 'ended the protection of a source that nobody copies');
    }
  } catch (error) {
    if (signal.aborted) return;
    protection.hasLeftovers = true;
    log.warn({ err: messageOf(error) }, 'could not look for sources that are still protected; later again');
  }
}

interface Left {
  readonly ref: SourceRef;
  /** on this node, as far as its label tells */
  readonly isHere: boolean;
}

/** Of claims the watch knows at each sweep: nothing has to be remembered of them. */
function leftClaims({ watches, own }: SweepOptions): Left[] {
  const left: Left[] = [];
  for (const { metadata, spec } of watches.claims()) {
    if (metadata.finalizers?.includes(cloningFinalizer) !== true) continue;
    const volume = watches.volume(spec.volumeName ?? '');
    if (volume?.spec.csi?.driver !== own.driverName || !isOnNode(volume, own)) continue;
    const ref = { kind: 'claim', namespace: metadata.namespace ?? '', name: metadata.name } as const;
    left.push({ ref, isHere: false });
  }
  return left;
}

/** Protected snapshots of this driver, on any node: the node that protected one may never come back. */
async function leftSnapshots({ api, own }: SweepOptions, signal: AbortSignal): Promise<Left[]> {
  const isProtected = ({ metadata }: VolumeSnapshot) =>
    metadata.finalizers?.includes(restoringFinalizer) === true;
  let items: readonly VolumeSnapshot[];
  try {
    items = (await api.list('VolumeSnapshot', { keep: isProtected }, signal)).items;
  } catch (error) {
    if (isOutOfReach(error)) return [];
    throw error;
  }
  const left: Left[] = [];
  for (const { metadata, status } of items) {
    const name = status?.boundVolumeSnapshotContentName ?? '';
    if (name === '') continue;
    const content = await lookUp(api, 'VolumeSnapshotContent', { name }, signal);
    if (content?.spec.driver !== own.driverName) continue;
    const ref = { kind: 'snapshot', namespace: metadata.namespace ?? '', name: metadata.name } as const;
    left.push({ ref, isHere: content.metadata.labels?.[nodeLabel] === own.topologyValue });
  }
  return left;
}

/** Whether a claim that has no volume yet wants to be made of it, asked of the API server. */
async function isWanted(api: KubeApi, ref: SourceRef, signal: AbortSignal): Promise<boolean> {
  const wants = (claim: PersistentVolumeClaim): boolean => isToBeMadeOf(claim, ref);
  const list = { namespace: ref.namespace, keep: wants };
  const { items } = await api.list('PersistentVolumeClaim', list, signal);
  return items.length > 0;
}
