import { claimOf, type JudgedVolume } from './plan-gc.ts';
import type { VolumeRow } from './report.ts';

/** A row for each volume, in the order of their ids. */
export function listVolumes(
  volumes: readonly JudgedVolume[],
  uses: ReadonlyMap<string, readonly string[]>,
): readonly VolumeRow[] {
  return volumes
    .map((volume) => rowOf(volume, uses.get(volume.held.volumeId) ?? []))
    .sort((left, right) => (left.volumeId < right.volumeId ? -1 : 1));
}

function rowOf({ held, judgement }: JudgedVolume, usedBy: readonly string[]): VolumeRow {
  const owned = judgement?.kind === 'owned' ? judgement : undefined;
  return {
    volumeId: held.volumeId,
    pool: held.poolName,
    backend: held.backend,
    accessType: held.accessType,
    sizeBytes: String(held.sizeBytes),
    claim: owned === undefined || owned.claim === '' ? claimOf(held) : owned.claim,
    persistentVolume: owned?.persistentVolume ?? '',
    phase: owned?.phase ?? '',
    state: stateOf(held.isRecycling, judgement),
    usedBy,
    remark: judgement === undefined || judgement.kind === 'owned' ? '' : judgement.reason,
  };
}

function stateOf(isRecycling: boolean, judgement: JudgedVolume['judgement']): VolumeRow['state'] {
  if (isRecycling) return 'recycling';
  if (judgement === undefined) return 'unknown';
  return judgement.kind === 'owned' ? 'ready' : judgement.kind;
}
