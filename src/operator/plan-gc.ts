import type {
  BrokenEntry,
  DoomedEntry,
  ForgottenEntry,
  Litter,
  Stray,
  Stuck,
} from '../model/disk-inventory.ts';
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
  readonly forgotten: readonly ForgottenEntry[];
  readonly strays: readonly Stray[];
  readonly litter: readonly Litter[];
}

/** Everything that is not simply a volume with its PV, the kinds in the order in which they end by themselves or need a person. */
export function planGc(state: NodeState): readonly Finding[] {
  const ofVolumes = state.volumes.flatMap((volume) => findingOf(volume) ?? []);
  const byKind = (...kinds: readonly Finding['kind'][]): Finding[] =>
    ofVolumes.filter(({ kind }) => kinds.includes(kind));
  const trash = state.doomed.map(findingOfDoomed);
  return [
    ...byKind('intent'),
    ...trash.filter(({ byItself }) => byItself),
    ...trash.filter(({ byItself }) => !byItself),
    ...byKind('orphan'),
    ...byKind('foreign'),
    ...byKind('recycling'),
    ...state.archived.map(findingOfArchived),
    ...state.forgotten.map(findingOfForgotten),
    ...state.broken.map(findingOfBroken),
    ...state.strays.map(findingOfStray),
    ...state.litter.map(findingOfLitter),
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

function findingOfDoomed(entry: DoomedEntry): Finding {
  const { id, poolName, sizeBytes, method, sinceMs, failure, stuck } = entry;
  const how = method === 'scrub' ? 'scrubbed' : 'removed';
  const state = stuck === undefined ? 'is being' : 'waits to be';
  const since = `deleted ${nounOf(id)} ${state} ${how} since ${timeOf(sinceMs)}`;
  return {
    kind: 'trash',
    id,
    pool: poolName,
    sizeBytes: String(sizeBytes),
    claim: '',
    reason: failure === undefined ? since : `${since}; the last attempt failed: ${failure}`,
    action: actionOn(entry),
    byItself: stuck === undefined,
  };
}

function actionOn({ id, failure, stuck }: DoomedEntry): string {
  if (stuck !== undefined) return `not by itself: ${wayOut(id, stuck)}`;
  return failure === undefined
    ? 'by itself: goes when its last byte is gone'
    : 'tried again by itself; mend what the failure names';
}

function wayOut(id: string, stuck: Stuck): string {
  switch (stuck.on) {
    case 'unusable disk':
      return `once its disk is mounted at ${stuck.mountPoint} and in order, it is emptied; if it is gone for good, loam gc --forget ${id} gives it up`;
    case 'failing disk':
      return `mend what the failure names; if the disk is broken, umount --lazy ${stuck.mountPoint} on the node, and then loam gc --forget ${id} gives it up`;
    case 'record':
      return 'do what the failure says; nobody else knows which disk is meant';
  }
}

function findingOfArchived(archived: ArchivedVolume): Finding {
  const { archiveId: id, volumeId, poolName: pool, takenBytes, path } = archived;
  const since = timeOf(archived.archivedAtMs);
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

function findingOfForgotten(entry: ForgottenEntry): Finding {
  const { volumeId: id, poolName: pool, sizeBytes, type, uuid, mountPoint, path, sinceMs } = entry;
  const when = sinceMs === undefined ? '' : ` at ${timeOf(sinceMs)}`;
  return {
    kind: 'forgotten',
    id,
    pool,
    sizeBytes: String(sizeBytes),
    claim: claimOf(entry),
    reason: `its disk, the ${type} ${uuid} of ${mountPoint}, was given up${when}`,
    action: `kept, so that nobody gets that disk; should it turn up, mount it in the discovery folder, and loam adopt <its path> takes it back; if it is destroyed, remove ${path} and restart the node's process`,
    byItself: false,
  };
}

function findingOfLitter({ name, isTrash = false, poolName: pool, why }: Litter): Finding {
  return {
    kind: 'stray',
    id: name,
    pool,
    sizeBytes: '',
    claim: '',
    reason: why,
    action: isTrash
      ? 'mend what the failure names; deleted volumes wait for that'
      : 'kept; look at it, and move it away or remove it by hand',
    byItself: false,
  };
}

function findingOfBroken({ id, poolName: pool, why, isNote = false }: BrokenEntry): Finding {
  return {
    kind: 'broken',
    id,
    pool,
    sizeBytes: '',
    claim: '',
    reason: why,
    action: isNote
      ? "kept, and until it is mended no new mounted disk becomes a volume, since any could be this one's; mend it by hand and restart the node's process"
      : "kept; mend the record by hand and restart the node's process, or move the folder away",
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

/** Whatever a record or a name says: what is no time is told as it is. */
function timeOf(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toISOString();
}

export function claimOf({ claim }: Pick<ForgottenEntry, 'claim'>): string {
  return claim === undefined ? '' : `${claim.namespace}/${claim.name}`;
}
