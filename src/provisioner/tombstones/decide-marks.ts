import { nodeLostSince, poolMissing } from '../../claims/annotations.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import { poolUuidKey } from '../../model/volume.ts';

export interface MarkFacts {
  /** uuids of the pools that are open here; undefined: not known now */
  readonly openPools: ReadonlySet<string> | undefined;
  /** those at the look before; undefined: this is the first. Disks that are late at boot, or away for a moment, are not missing */
  readonly openBefore: ReadonlySet<string> | undefined;
  readonly nowMs: number;
}

export type MarkDecision =
  | { readonly kind: 'keep'; readonly reason: string }
  | {
      readonly kind: 'write';
      readonly annotations: Readonly<Record<string, string | null>>;
      /** the pool is missed from now on */
      readonly isNewlyMissing: boolean;
      readonly reason: string;
    };

/**
 * What the node's own process says on a PV of its own: that the node lives, whatever the cluster thinks of its kubelet, and whether it
 * has the disk that the PV means. A node set up anew under the old name has not: its pools have other uuids.
 */
export function decideMarks({ metadata, spec }: PersistentVolume, facts: MarkFacts): MarkDecision {
  const { openPools, openBefore, nowMs } = facts;
  const noted = metadata.annotations ?? {};
  const poolUuid = spec.csi?.volumeAttributes?.[poolUuidKey] ?? '';
  const annotations: Record<string, string | null> = {};
  const reasons: string[] = [];
  if (noted[nodeLostSince] !== undefined) {
    annotations[nodeLostSince] = null;
    reasons.push('this node is there');
  }
  const isMissed = noted[poolMissing] !== undefined;
  // a PV that names no pool misses none
  const isOpen = poolUuid === '' ? true : openPools?.has(poolUuid);
  if (isOpen === true && isMissed) {
    annotations[poolMissing] = null;
    reasons.push(`pool ${poolUuid} is there`);
  }
  const isGoing = metadata.deletionTimestamp !== undefined;
  const isNewlyMissing = isOpen === false && openBefore?.has(poolUuid) === false && !isMissed && !isGoing;
  if (isNewlyMissing) {
    annotations[poolMissing] = `${new Date(nowMs).toISOString().slice(0, 19)}Z`;
    reasons.push(`no pool here is ${poolUuid}`);
  }
  return reasons.length === 0
    ? { kind: 'keep', reason: 'it says what is so' }
    : { kind: 'write', annotations, isNewlyMissing, reason: reasons.join(', ') };
}
