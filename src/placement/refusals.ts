import type { Clock } from '../model/clock.ts';

/** However little a node's numbers change, it may be asked again after this. */
const longestMs = 60_000;
/** A capacity object that changes right after a refusal may still be from before it. */
const shortestMs = 1_000;

interface Refusal {
  readonly atMs: number;
  readonly mark: number;
  readonly times: number;
}

/** Which nodes have given which claims back, so that a claim does not go to and fro. */
export class Refusals {
  readonly #clock: Clock;
  /** claim's uid → node */
  readonly #claims = new Map<string, Map<string, Refusal>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param mark changes of capacity objects until now */
  add(claimUid: string, nodeName: string, mark: number): void {
    const nodes = this.#claims.get(claimUid) ?? new Map<string, Refusal>();
    this.#claims.set(claimUid, nodes);
    const times = (nodes.get(nodeName)?.times ?? 0) + 1;
    nodes.set(nodeName, { atMs: this.#clock.nowMs(), mark, times });
  }

  /**
   * For how long the node is not asked again for this claim: until its capacity object has changed, though each time not sooner than
   * twice as long as before, or for a minute. 0 = it may be asked.
   *
   * @param shownMark when that object last changed, as `add` counts
   */
  restMs(claimUid: string, nodeName: string, shownMark: number): number {
    const refusal = this.#claims.get(claimUid)?.get(nodeName);
    if (refusal === undefined) return 0;
    const hasChanged = shownMark > refusal.mark;
    const patienceMs = hasChanged ? Math.min(shortestMs * 2 ** (refusal.times - 1), longestMs) : longestMs;
    return Math.max(0, refusal.atMs + patienceMs - this.#clock.nowMs());
  }

  forget(claimUid: string): void {
    this.#claims.delete(claimUid);
  }
}
