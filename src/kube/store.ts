import type { ObjectKey, Page } from './kube-api.ts';
import type { KubeObject } from './objects.ts';
import { isAtLeast } from './resource-version.ts';
import { Tombstones } from './tombstones.ts';
import { withoutManagedFields } from './without-managed-fields.ts';

export interface Change<T> {
  readonly previous: T | undefined;
  readonly current: T | undefined;
}

/** `ns/name`, or `name` for what is cluster-wide. */
export function keyOf(object: KubeObject | ObjectKey): string {
  const { namespace, name } = 'metadata' in object ? object.metadata : object;
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

/**
 * What is known of one kind: the watch's news, and our own writes' answers ahead of them.
 *
 * The watch is the truth and comes in order. An answer put in ahead of it stands until the watch has caught up with it, so nothing ever
 * goes backwards. Each change is announced once, by whichever way it came first.
 */
export class ObjectStore<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();
  readonly #listeners: ((change: Change<T>) => void)[] = [];
  readonly #tombstones = new Tombstones();
  /** objects put in that the watch has not confirmed, with the order in which they were put */
  readonly #ahead = new Map<string, number>();
  #putsSoFar = 0;
  #project: (object: T) => T = (object) => object;

  constructor(indexes: Record<string, (object: T) => readonly string[]> = {}) {
    for (const [name, valuesOf] of Object.entries(indexes))
      this.#indexes.set(name, { valuesOf, byValue: new Map() });
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): IterableIterator<T> {
    return this.#objects.values();
  }

  /** @throws RangeError for an index that the store was not made with */
  byIndex(index: string, value: string): readonly T[] {
    const entry = this.#indexes.get(index);
    if (entry === undefined) throw new RangeError(`the store has no index "${index}"`);
    return [...(entry.byValue.get(value)?.values() ?? [])];
  }

  /** Writes an API answer through: ignored where something newer is known, be it that the object is gone. */
  put(object: T): void {
    const key = keyOf(object);
    const version = object.metadata.resourceVersion;
    const known = this.#objects.get(key)?.metadata.resourceVersion;
    if (known !== undefined && (known === version || !isAtLeast(version, known))) return;
    const goneAt = this.#tombstones.get(key);
    if (known === undefined && goneAt !== undefined && isAtLeast(goneAt, version)) return;
    this.#putsSoFar += 1;
    this.#ahead.set(key, this.#putsSoFar);
    this.#set(key, object);
  }

  /** For an object whose deletion the API has answered: later answers to older writes do not bring it back. */
  remove(key: string): void {
    this.#delete(key, this.#objects.get(key)?.metadata.resourceVersion);
  }

  /** Called synchronously after each change; must not throw. */
  onChange(listener: (change: Change<T>) => void): void {
    this.#listeners.push(listener);
  }

  /** Applied to everything that comes in from now on, to keep of it only what somebody reads. */
  projectWith(project: (object: T) => T): void {
    this.#project = project;
  }

  /** One event of the watch. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void {
    const key = keyOf(object);
    const version = object.metadata.resourceVersion;
    const known = this.#objects.get(key)?.metadata.resourceVersion;
    if (this.#ahead.has(key)) {
      // unequal and at least as new means newer: then our answer stands until the watch is there
      if (known !== version && !isAtLeast(version, known)) return;
      this.#ahead.delete(key);
    }
    if (type === 'DELETED') this.#delete(key, version);
    else if (known === undefined || known !== version) this.#set(key, object);
  }

  /** To be taken before a list is asked for, and given to `replace` with its answer. */
  mark(): number {
    return this.#putsSoFar;
  }

  /** Takes a list for all there is, but for answers put in since its mark and newer than it. */
  replace(page: Page<T>, mark: number): void {
    const standsAgainst = (key: string, version: string | undefined) =>
      (this.#ahead.get(key) ?? 0) > mark &&
      !isAtLeast(version, this.#objects.get(key)?.metadata.resourceVersion);
    const listed = new Set<string>();
    for (const object of page.items) {
      const key = keyOf(object);
      listed.add(key);
      if (standsAgainst(key, object.metadata.resourceVersion)) continue;
      this.#ahead.delete(key);
      const known = this.#objects.get(key)?.metadata;
      if (known?.resourceVersion !== object.metadata.resourceVersion || known?.uid !== object.metadata.uid) {
        this.#set(key, object);
      }
    }
    for (const key of this.#objects.keys()) {
      if (!listed.has(key) && !standsAgainst(key, page.resourceVersion))
        this.#delete(key, page.resourceVersion);
    }
  }

  #set(key: string, object: T): void {
    const previous = this.#objects.get(key);
    const current = this.#project(withoutManagedFields(object));
    this.#tombstones.delete(key);
    this.#objects.set(key, current);
    this.#reindex(key, previous, current);
    this.#announce({ previous, current });
  }

  #delete(key: string, version: string | undefined): void {
    this.#ahead.delete(key);
    if (version !== undefined) this.#tombstones.set(key, version);
    const previous = this.#objects.get(key);
    if (previous === undefined) return;
    this.#objects.delete(key);
    this.#reindex(key, previous, undefined);
    this.#announce({ previous, current: undefined });
  }

  #reindex(key: string, previous: T | undefined, current: T | undefined): void {
    for (const { valuesOf, byValue } of this.#indexes.values()) {
      for (const value of previous === undefined ? [] : valuesOf(previous)) {
        const entries = byValue.get(value);
        entries?.delete(key);
        if (entries?.size === 0) byValue.delete(value);
      }
      for (const value of current === undefined ? [] : valuesOf(current)) {
        const entries = byValue.get(value);
        if (entries === undefined) byValue.set(value, new Map([[key, current as T]]));
        else entries.set(key, current as T);
      }
    }
  }

  #announce(change: Change<T>): void {
    for (const listener of this.#listeners) listener(change);
  }
}

interface Index<T> {
  readonly valuesOf: (object: T) => readonly string[];
  readonly byValue: Map<string, Map<string, T>>;
}
