import { formatBytes } from '../../model/quantity.ts';
import type { PoolRoom } from '../../model/volume-ledger.ts';

/** A released volume that is left as it is for a while. */
export interface RetainedVolume {
  /** the PV's */
  readonly name: string;
  readonly volumeId: string;
  /** of the claim that it was */
  readonly namespace: string;
  readonly poolUuid: string;
  readonly sizeBytes: bigint;
  /** since when it is retained; one whose end a person moved away counts as younger by that much */
  readonly sinceMs: number;
  /** whether its end gives its room back: emptied and archived volumes keep theirs, and mounted disks have their own */
  readonly freesRoom: boolean;
}

export interface EarlyEnd {
  readonly name: string;
  /** for people, with the numbers */
  readonly why: string;
}

/**
 * Whose retention ends before its time: the oldest first, and only as many as bring every namespace to its cap and every pool's
 * unpromised room back to its share. Room that is coming back anyway is counted as there, so that a slow scrub does not cost more.
 *
 * @param leaving bytes by pool uuid that volumes hold whose deletion is under way
 * @param yieldBelowShare 0 to below 1; 0: never for room
 * @param perNamespaceBytes of this node; 0n: no cap
 */
export function decideEarlyEnd(input: {
  readonly retained: readonly RetainedVolume[];
  readonly leaving: ReadonlyMap<string, bigint>;
  readonly rooms: readonly PoolRoom[];
  readonly yieldBelowShare: number;
  readonly perNamespaceBytes: bigint;
}): readonly EarlyEnd[] {
  const { rooms, yieldBelowShare, perNamespaceBytes } = input;
  const oldestFirst = input.retained.toSorted((a, b) => a.sinceMs - b.sinceMs || (a.name < b.name ? -1 : 1));
  const ended = new Map<RetainedVolume, string>();
  if (perNamespaceBytes > 0n) endOverCap(oldestFirst, perNamespaceBytes, ended);
  for (const room of rooms) {
    const wantedBytes = shareOf(room.sizeBytes, yieldBelowShare);
    let roomBytes = room.unpromisedBytes + (input.leaving.get(room.uuid) ?? 0n);
    const inPool = oldestFirst.filter(({ poolUuid, freesRoom }) => poolUuid === room.uuid && freesRoom);
    for (const volume of inPool) if (ended.has(volume)) roomBytes += volume.sizeBytes;
    for (const volume of inPool) {
      if (roomBytes >= wantedBytes) break;
      if (ended.has(volume)) continue;
      ended.set(
        volume,
        `pool ${room.name} has ${formatBytes(room.unpromisedBytes)} of ${formatBytes(room.sizeBytes)} left, less than the ${formatBytes(wantedBytes)} below which retained volumes yield`,
      );
      roomBytes += volume.sizeBytes;
    }
  }
  return [...ended].map(([{ name }, why]) => ({ name, why }));
}

function endOverCap(
  oldestFirst: readonly RetainedVolume[],
  capBytes: bigint,
  ended: Map<RetainedVolume, string>,
): void {
  for (const [namespace, volumes] of Map.groupBy(oldestFirst, (volume) => volume.namespace)) {
    const totalBytes = volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n);
    let keptBytes = totalBytes;
    for (const volume of volumes) {
      if (keptBytes <= capBytes) break;
      ended.set(
        volume,
        `namespace ${namespace} has ${formatBytes(totalBytes)} in retained volumes on this node, more than the ${formatBytes(capBytes)} that it may have`,
      );
      keptBytes -= volume.sizeBytes;
    }
  }
}

/** Exact to a millionth. */
function shareOf(sizeBytes: bigint, share: number): bigint {
  return (sizeBytes * BigInt(Math.round(share * 1_000_000))) / 1_000_000n;
}
