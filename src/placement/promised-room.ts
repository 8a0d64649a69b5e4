import type { Clock } from '../model/clock.ts';
import { promiseMs } from './decide-node.ts';

interface Promised {
  readonly bytes: bigint;
  readonly atMs: number;
  /** the place of this promise among all changes of capacity objects */
  readonly mark: number;
  hasVolume: boolean;
}

/**
 * What this process has given to claims and nodes do not show yet. Capacity objects are a second old at best: without this, a burst of
 * claims would all go to the node that had most room before the first of them.
 */
export class PromisedRoom {
  readonly #clock: Clock;
  /** node → claim's uid */
  readonly #nodes = new Map<string, Map<string, Promised>>();
  readonly #nodeOf = new Map<string, string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param mark changes of capacity objects until now */
  add(claimUid: string, nodeName: string, bytes: bigint, mark: number): void {
    this.end(claimUid);
    const claims = this.#nodes.get(nodeName) ?? new Map<string, Promised>();
    this.#nodes.set(nodeName, claims);
    claims.set(claimUid, { bytes, atMs: this.#clock.nowMs(), mark, hasVolume: false });
    this.#nodeOf.set(claimUid, nodeName);
  }

  volumeSeen(claimUid: string): void {
    const promised = this.#nodes.get(this.#nodeOf.get(claimUid) ?? '')?.get(claimUid);
    if (promised !== undefined) promised.hasVolume = true;
  }

  /** The claim is gone, or the node has given it back. */
  end(claimUid: string): void {
    const nodeName = this.#nodeOf.get(claimUid);
    if (nodeName === undefined) return;
    this.#nodeOf.delete(claimUid);
    const claims = this.#nodes.get(nodeName);
    claims?.delete(claimUid);
    if (claims?.size === 0) this.#nodes.delete(nodeName);
  }

  /**
   * What the node's capacity object does not show yet.
   *
   * @param shownMark when that object last changed, as `add` counts
   * @param butForUid whose own promise does not count: a claim is not in its own way
   */
  bytesOn(nodeName: string, shownMark: number, butForUid = ''): bigint {
    const claims = this.#nodes.get(nodeName);
    if (claims === undefined) return 0n;
    const oldestMs = this.#clock.nowMs() - promiseMs;
    let bytes = 0n;
    for (const [claimUid, promised] of claims) {
      if (promised.atMs <= oldestMs) this.end(claimUid);
      else if (claimUid !== butForUid && (!promised.hasVolume || promised.mark >= shownMark))
        bytes += promised.bytes;
    }
    return bytes;
  }
}
