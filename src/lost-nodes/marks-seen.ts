import { nodeLostSince } from '../claims/annotations.ts';
import { uidOf } from '../claims/claim-facts.ts';
import type { PersistentVolume } from '../kube/objects.ts';
import type { Change } from '../kube/store.ts';
import type { Clock } from '../model/clock.ts';

interface Seen {
  readonly mark: string | undefined;
  readonly sinceMs: number;
  readonly objectedAtMs?: number;
}

/**
 * Since when this process has seen the mark of a lost node on each PV, and when somebody else took it off: the node's own process does
 * so where it lives. Forgotten with the process: the next one waits a little more.
 */
export class MarksSeen {
  readonly #clock: Clock;
  readonly #seen = new Map<string, Seen>();
  readonly #taken = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Every change of a PV goes through here. */
  note({ previous, current }: Change<PersistentVolume>): void {
    if (previous !== undefined && uidOf(previous) !== (current === undefined ? '' : uidOf(current)))
      this.#seen.delete(uidOf(previous));
    if (current === undefined) return;
    const uid = uidOf(current);
    const mark = current.metadata.annotations?.[nodeLostSince];
    const known = this.#seen.get(uid);
    if (known?.mark === mark) return;
    const nowMs = this.#clock.nowMs();
    const wasTaken = mark === undefined && known?.mark !== undefined && !this.#taken.delete(uid);
    const objectedAtMs = wasTaken ? nowMs : known?.objectedAtMs;
    this.#seen.set(uid, { mark, sinceMs: nowMs, ...(objectedAtMs === undefined ? {} : { objectedAtMs }) });
  }

  /** We take it off ourselves: the node is there. */
  taking(uid: string): void {
    this.#taken.add(uid);
  }

  markSeenMs(uid: string): number | undefined {
    const seen = this.#seen.get(uid);
    return seen?.mark === undefined ? undefined : seen.sinceMs;
  }

  objectedAtMs(uid: string): number | undefined {
    return this.#seen.get(uid)?.objectedAtMs;
  }
}
