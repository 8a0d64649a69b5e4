import type { KindName } from '../kube/kinds.ts';
import { expired } from './api-failure.ts';
import type { StoredObject } from './stored-object.ts';

/** One write, as watches see it. `object` carries the revision that the write got, a deleted one too. */
export interface Change {
  readonly revision: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly kind: KindName;
  readonly object: StoredObject;
  readonly previous: StoredObject | undefined;
}

/** What a watch is told of an object that is no longer in its selection: how it was before, at the revision at which it went. */
export function leftBehind({ object, previous = object }: Change): StoredObject {
  const { resourceVersion } = object.metadata;
  return { ...previous, metadata: { ...previous.metadata, resourceVersion } };
}

/** The last writes, for watches that start in the past. What has been dropped from it is answered with 410. */
export class History {
  readonly #limit: number;
  readonly #listeners = new Set<(change: Change) => void>();
  #changes: Change[] = [];
  /** the newest revision that is no longer remembered */
  #forgotten = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  append(change: Change): void {
    this.#changes.push(change);
    // trimmed in bulk: shifting an array at every write would make writes cost its length
    if (this.#changes.length > 2 * this.#limit) this.#forget(this.#changes.length - this.#limit);
    for (const listener of this.#listeners) listener(change);
  }

  /**
   * The writes after a revision, oldest first.
   * @throws ApiFailure 410 where some of them are forgotten
   */
  since(revision: number): readonly Change[] {
    if (revision < this.#forgotten) {
      throw expired(`too old resource version: ${revision} (${this.#forgotten})`);
    }
    const first = this.#changes.findIndex((change) => change.revision > revision);
    return first === -1 ? [] : this.#changes.slice(first);
  }

  /** Calls back synchronously with every write; the returned function ends it. */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets everything, as etcd's compaction does. */
  compact(): void {
    this.#forget(this.#changes.length);
  }

  #forget(count: number): void {
    const newest = this.#changes[count - 1];
    if (newest === undefined) return;
    this.#forgotten = newest.revision;
    this.#changes = this.#changes.slice(count);
  }
}
