import type { CsiStorageCapacity } from '../../kube/objects.ts';
import { decideCapacity, driftGapMs } from './decide-capacity.ts';

/** What a process remembers of one class's object between two rounds. */
export interface ClassState {
  /** the last write, or before the first one the start */
  writtenAtMs: number;
  isWritten: boolean;
  /** something happened that has not been written yet */
  isNews: boolean;
  failures: number;
  /** after a failure */
  notBeforeMs: number;
}

interface ClassWish {
  readonly className: string;
  readonly state: ClassState;
  /** unset: not known now; what is published stands */
  readonly wanted: CsiStorageCapacity | undefined;
  readonly published: CsiStorageCapacity | undefined;
}

interface Write {
  readonly className: string;
  /** unset: the class is gone */
  readonly state?: ClassState;
  readonly isUrgent: boolean;
  readonly reason: string;
}
export type PlannedWrite = Write &
  (
    | { readonly kind: 'create'; readonly wanted: CsiStorageCapacity }
    | { readonly kind: 'patch'; readonly wanted: CsiStorageCapacity; readonly body: object }
    | {
        readonly kind: 'replace';
        readonly wanted: CsiStorageCapacity;
        readonly published: CsiStorageCapacity;
      }
    | { readonly kind: 'remove'; readonly published: CsiStorageCapacity }
  );

export interface RoundPlan {
  /** the most urgent first, then what was not written for longest */
  readonly writes: readonly PlannedWrite[];
  /** when the first of those that have to wait may be written; infinity where none has to */
  readonly nextMs: number;
  /** objects that are as they should be, or so nearly that it can wait */
  readonly current: number;
  /** objects of ours whose class is gone, or no longer our driver's */
  readonly obsolete: number;
}

/** What one round is to write, of what there is and what should be. Forgets the news of classes that need nothing. */
export function planRound(
  wishes: readonly ClassWish[],
  existing: readonly CsiStorageCapacity[],
  nowMs: number,
): RoundPlan {
  const writes: PlannedWrite[] = [];
  let nextMs = Number.POSITIVE_INFINITY;
  let current = 0;
  for (const { className, state, wanted, published } of wishes) {
    if (wanted === undefined) continue;
    // a machine whose time is set back does not wait until it is that late again
    state.writtenAtMs = Math.min(state.writtenAtMs, nowMs);
    state.notBeforeMs = Math.min(state.notBeforeMs, nowMs + driftGapMs);
    if (state.notBeforeMs > nowMs) {
      nextMs = Math.min(nextMs, state.notBeforeMs);
      continue;
    }
    const decision = decideCapacity({ ...state, published, wanted, nowMs });
    const write = { className, state, wanted };
    if (decision.kind === 'keep') {
      state.isNews = false;
      current += 1;
    } else if (decision.kind === 'wait') {
      nextMs = Math.min(nextMs, decision.untilMs);
      if (published !== undefined) current += 1;
    } else if (decision.kind !== 'replace') writes.push({ ...write, ...decision });
    else if (published !== undefined) writes.push({ ...write, ...decision, published });
  }
  const wishNames = new Set(wishes.map(({ className }) => className));
  const namesInUse = new Set(wishes.flatMap(({ published }) => published?.metadata.name ?? []));
  const obsolete = existing.filter(({ metadata }) => !namesInUse.has(metadata.name));
  for (const published of obsolete) {
    const className = published.storageClassName;
    // of a class that is there, under a name that is not ours: a second one of it would count as well
    const reason = wishNames.has(className) ? 'the class has another object' : 'the class is gone';
    writes.push({ kind: 'remove', className, isUrgent: false, reason, published });
  }
  writes.sort(
    (left, right) =>
      Number(right.isUrgent) - Number(left.isUrgent) ||
      (left.state?.writtenAtMs ?? 0) - (right.state?.writtenAtMs ?? 0),
  );
  return { writes, nextMs, current, obsolete: obsolete.length };
}
