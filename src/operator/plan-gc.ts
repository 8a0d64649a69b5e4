import type { BrokenEntry, DoomedEntry, Stray } from '../model/disk-inventory.ts';
import { nounOf } from '../model/snapshot-id.ts';
import type { ArchivedVolume, HeldVolume } from '../model/volume-ledger.ts';
import type { Finding } from './report.ts';

/** A volume on this node's disks and whose it is. `undefined`: there is no API server to ask. */
export interface JudgedVolume {
  readonly held: HeldVolume;
  readonly judgement: Judgement | undefined;
}

/** Which PV stands for a volume, or why none does. */
export type Judgement =
  | {
      readonly kind: 'owned';
      readonly persistentVolume: string;
      readonly phase: string;
      /** `namespace/name`; '' where the PV names none */
      readonly claim: string;
      readonly reason: string;
    }
  | { readonly kind: 'begun'; readonly isSwept: boolean; readonly reason: string }
  | { readonly kind: 'orphan'; readonly isForeign: boolean; readonly reason: string }
  | { readonly kind: 'unknown'; readonly reason: string };

/** What lies on this node's disks. */
export interface NodeState {
  readonly volumes: readonly JudgedVolume[];
  readonly doomed: readonly DoomedEntry[];
  readonly broken: readonly BrokenEntry[];
  readonly archived: readonly ArchivedVolume[];
  readonly strays: readonly Stray[];
}

/** Everything that is not simply a volume with its PV, the kinds in the order in which they end by themselves or need a person. */
export function planGc(state: NodeState): readonly Finding[] {
  const ofVolumes = state.volumes.flatMap((volume) => findingOf(volume) ?? []);
  const byKind = (...kinds: readonly Finding['kind'][]): Finding[] =>
    ofVolumes.filter(({ kind }) => kinds.includes(kind));
  return [
    ...byKind('intent'),
    ...state.doomed.map(findingOfDoomed),
    ...byKind('orphan'),
    ...byKind('foreign'),
    ...byKind('recycling'),
    ...state.archived.map(findingOfArchived),
    ...state.broken.map(findingOfBroken),
    ...state.strays.map(findingOfStray),
    ...byKind('unknown'),
  ];
}

function findingOf({ held, judgement }: JudgedVolume): Finding | undefined {
  const { volumeId: id, poolName: pool } = held;
  const facts = { id, pool, sizeBytes: String(held.sizeBytes), claim: claimOf(held) };
  const choice = `loam adopt ${id} gives it a PersistentVolume, loam gc --remove ${id} deletes it`;
  // without an API server nothing is said of any volume, once for all of them
  if (judgement === undefined || judgement.kind === 'owned') return undefined;
  const { reason } = judgement;
  if (judgement.kind === 'unknown')
    return {
      ...facts,
      kind: 'unknown',
      reason,
      action: 'repeat when the API server answers',
      byItself: false,
    };
  if (judgement.kind === 'begun') {
    const action = judgement.isSwept
      ? 'by itself: gets its PersistentVolume, or is removed once its claim is verified to be gone'
      : 'by itself: whoever began it goes on; else it is told of as an orphan a minute after its creation';
    return { ...facts, kind: 'intent', reason, action, byItself: true };
  }
  if (held.isRecycling) {
    const half = `${reason}; it was being emptied, and what it held is on its way out`;
    return { ...facts, kind: 'recycling', reason: half, action: choice, byItself: false };
  }
  return {
    ...facts,
    kind: judgement.isForeign ? 'foreign' : 'orphan',
    reason,
    action: choice,
    byItself: false,
  };
}

function findingOfDoomed({ id, poolName, sizeBytes, method, sinceMs, failure }: DoomedEntry): Finding {
  const how = method === 'scrub' ? 'is being scrubbed' : 'is being removed';
  const since = `deleted ${nounOf(id)} ${how} since ${new Date(sinceMs).toISOString()}`;
  return {
    kind: 'trash',
    id,
    pool: poolName,
    sizeBytes: String(sizeBytes),
    claim: '',
    reason: failure === undefined ? since : `${since}; the last attempt failed: ${failure}`,
    action:
      failure === undefined
        ? 'by itself: goes when its last byte is gone'
        : 'tried again by itself; mend what the failure names',
    byItself: true,
  };
}

function findingOfArchived(archived: ArchivedVolume): Finding {
  const { archiveId: id, volumeId, poolName: pool, takenBytes, path } = archived;
  const since = new Date(archived.archivedAtMs).toISOString();
  return {
    kind: 'archived',
    id,
    pool,
    sizeBytes: String(takenBytes),
    claim: claimOf(archived),
    reason: `put away by onDelete: archive at ${since}, lies in ${path}`,
    action: `kept; loam adopt ${volumeId} takes it back, loam gc --archive ${id} removes it for good`,
    byItself: false,
  };
}

function findingOfBroken({ id, poolName: pool, why }: BrokenEntry): Finding {
  return {
    kind: 'broken',
    id,
    pool,
    sizeBytes: '',
    claim: '',
    reason: why,
    action: 'kept; mend the record by hand and restart the node, or move the folder away',
    byItself: false,
  };
}

function findingOfStray({ kind, path, volumeId, poolName = '', why }: Stray): Finding {
  return {
    kind: 'stray',
    id: volumeId,
    pool: poolName,
    sizeBytes: '',
    claim: '',
    reason: `${kind} ${path}`,
    action: why,
    byItself: kind === 'publication',
  };
}

export function claimOf({ claim }: Pick<HeldVolume, 'claim'>): string {
  return claim === undefined ? '' : `${claim.namespace}/${claim.name}`;
}
