import { type BackOffRange, backOffMs } from '../kube/back-off.ts';
import { describeSource, type SourceRef } from './data-source.ts';

/**
 * Claims whose source was not ready when it was last looked up: how long each waits until the next look, and whom news of a source
 * concern.
 */
export class SourceWaits {
  readonly #range: BackOffRange;
  /** claim's uid → what it waits for, and looks in a row that found it not ready */
  readonly #waiting = new Map<string, { readonly key: string; readonly looks: number }>();
  readonly #bySource = new Map<string, Set<string>>();

  constructor(range: BackOffRange) {
    this.#range = range;
  }

  /** Its source was not ready. @returns ms until the next look */
  wait(claimUid: string, ref: SourceRef): number {
    const key = describeSource(ref);
    const known = this.#waiting.get(claimUid);
    const looks = known?.key === key ? known.looks + 1 : 1;
    this.forget(claimUid);
    this.#waiting.set(claimUid, { key, looks });
    this.#bySource.set(key, (this.#bySource.get(key) ?? new Set()).add(claimUid));
    return backOffMs(looks, this.#range);
  }

  forget(claimUid: string): void {
    const known = this.#waiting.get(claimUid);
    if (known === undefined) return;
    this.#waiting.delete(claimUid);
    const waiting = this.#bySource.get(known.key);
    waiting?.delete(claimUid);
    if (waiting?.size === 0) this.#bySource.delete(known.key);
  }

  /** News of a source. @returns the claims that wait for it; what they find is counted from the beginning, since it may need a moment yet */
  wake(ref: SourceRef): readonly string[] {
    const key = describeSource(ref);
    const uids = [...(this.#bySource.get(key) ?? [])];
    for (const uid of uids) this.#waiting.set(uid, { key, looks: 0 });
    return uids;
  }
}
