import { randomUUID } from 'node:crypto';
import { ApiError } from '../../src/kube/api-error.ts';
import { apiVersionOf, type KindName, type Kinds } from '../../src/kube/kinds.ts';
import type {
  KubeApi,
  ListOptions,
  ListRequest,
  ObjectKey,
  Page,
  Patch,
  RemoveOptions,
  WatchEvent,
} from '../../src/kube/kube-api.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { keyOf } from '../../src/kube/store.ts';

export type Verb = 'get' | 'list' | 'create' | 'patch' | 'remove' | 'watch';

export interface ApiCall {
  readonly verb: Verb;
  readonly kind: KindName;
  readonly name: string;
  readonly body?: unknown;
}

interface Fault {
  readonly verb: Verb;
  readonly kind: KindName;
  readonly error: Error;
  /** the write takes effect, and its answer is lost */
  readonly afterEffect: boolean;
  left: number;
}

interface Logged {
  readonly kind: KindName;
  readonly event: { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: KubeObject };
  readonly version: number;
  /** as it was before; unset: it was not there */
  readonly previous: KubeObject | undefined;
}

type Tree = Record<string, unknown>;

/**
 * The API server's rules in memory, called directly: resourceVersions, preconditions, finalizers, watches, and faults on demand.
 * Objects go in and out as copies, as over the wire.
 */
export class FakeKubeApi implements KubeApi {
  readonly calls: ApiCall[] = [];
  readonly #objects = new Map<KindName, Map<string, KubeObject>>();
  readonly #history: Logged[] = [];
  readonly #watchers = new Set<() => void>();
  readonly #faults: Fault[] = [];
  readonly #hooks: { readonly verb: Verb; readonly kind: KindName; readonly run: () => void }[] = [];
  #version = 100;
  #isDeaf = false;

  /** The next calls of this kind fail. */
  fail(
    verb: Verb,
    kind: KindName,
    error: Error,
    options: { times?: number; afterEffect?: boolean } = {},
  ): void {
    this.#faults.push({
      verb,
      kind,
      error,
      left: options.times ?? 1,
      afterEffect: options.afterEffect ?? false,
    });
  }

  /** From now on nothing fails that was told to. */
  heal(): void {
    this.#faults.length = 0;
  }

  /** Runs right before the next such call takes effect. */
  before(verb: Verb, kind: KindName, run: () => void): void {
    this.#hooks.push({ verb, kind, run });
  }

  /** Ends all watches and refuses new ones and lists, until told to hear again. */
  goDeaf(): void {
    this.#isDeaf = true;
    for (const wake of this.#watchers) wake();
  }

  hearAgain(): void {
    this.#isDeaf = false;
  }

  /** For tests: what is there now. */
  peek<K extends KindName>(kind: K, key: string): Kinds[K] | undefined {
    const found = this.#table(kind).get(key);
    return found === undefined ? undefined : (structuredClone(found) as Kinds[K]);
  }

  all<K extends KindName>(kind: K): Kinds[K][] {
    return [...this.#table(kind).values()].map((object) => structuredClone(object) as Kinds[K]);
  }

  /** For tests: what a user or another controller writes, without being counted. */
  put<K extends KindName>(kind: K, object: Kinds[K]): Kinds[K] {
    return this.#insert(kind, object);
  }

  edit<K extends KindName>(kind: K, key: string, change: (object: Kinds[K]) => void): void {
    const copy = this.peek(kind, key);
    if (copy === undefined) throw new Error(`no ${kind} ${key}`);
    change(copy);
    this.#replace(kind, key, copy);
  }

  /** As a user's delete: finalizers hold. */
  erase(kind: KindName, key: string): void {
    const object = this.#table(kind).get(key);
    if (object !== undefined) this.#delete(kind, key, object);
  }

  async get<K extends KindName>(kind: K, key: ObjectKey, signal: AbortSignal): Promise<Kinds[K]> {
    return this.#call(
      'get',
      kind,
      key.name,
      signal,
      undefined,
      () => this.#find(kind, keyOf(key)) as Kinds[K],
    );
  }

  async list<K extends KindName>(
    kind: K,
    options: ListRequest<Kinds[K]>,
    signal: AbortSignal,
  ): Promise<Page<Kinds[K]>> {
    return this.#call('list', kind, '', signal, undefined, () => {
      if (this.#isDeaf) throw new ApiError(503, 'ServiceUnavailable', 'told not to answer');
      const { keep = () => true } = options;
      const items = [...this.#table(kind).values()].filter((object) =>
        selects(options, object),
      ) as Kinds[K][];
      return { items: items.filter(keep), resourceVersion: String(this.#version) };
    });
  }

  async create<K extends KindName>(kind: K, object: Kinds[K], signal: AbortSignal): Promise<Kinds[K]> {
    return this.#call('create', kind, object.metadata.name, signal, object, () => this.#insert(kind, object));
  }

  async patch<K extends KindName>(
    kind: K,
    key: ObjectKey,
    patch: Patch,
    signal: AbortSignal,
    subresource?: 'status',
  ): Promise<Kinds[K]> {
    return this.#call('patch', kind, key.name, signal, patch.body, () => {
      const current = this.#find(kind, keyOf(key));
      const body = patch.body as Tree & { metadata?: { resourceVersion?: string; uid?: string } };
      if ((body.metadata?.uid ?? current.metadata.uid) !== current.metadata.uid)
        throw new ApiError(409, 'Conflict', `${key.name} is another one`);
      const asked = body.metadata?.resourceVersion;
      if (asked !== undefined && asked !== current.metadata.resourceVersion) {
        throw new ApiError(409, 'Conflict', `${key.name} is at another version than ${asked}`);
      }
      const merged = merge(
        current as unknown as Tree,
        body,
        patch.type === 'strategic',
      ) as unknown as KubeObject & Tree;
      const before = current as KubeObject & Tree;
      const next =
        subresource === 'status'
          ? // of claims and volumes metadata may be written with the status
            { ...before, metadata: merged.metadata, status: merged['status'] }
          : { ...merged, status: before['status'] };
      if (next['status'] === undefined) delete next['status'];
      return this.#replace(kind, keyOf(key), next) as Kinds[K];
    });
  }

  async remove(
    kind: KindName,
    key: ObjectKey,
    signal: AbortSignal,
    preconditions: RemoveOptions = {},
  ): Promise<void> {
    const { gracePeriodSeconds } = preconditions;
    const body = gracePeriodSeconds === undefined ? undefined : { gracePeriodSeconds };
    return this.#call('remove', kind, key.name, signal, body, () => {
      const current = this.#find(kind, keyOf(key));
      const { uid, resourceVersion } = current.metadata;
      if (
        (preconditions.uid ?? uid) !== uid ||
        (preconditions.resourceVersion ?? resourceVersion) !== resourceVersion
      ) {
        throw new ApiError(409, 'Conflict', `${key.name} is another one`);
      }
      this.#delete(kind, keyOf(key), current);
    });
  }

  async *watch<K extends KindName>(
    kind: K,
    options: ListOptions & { readonly resourceVersion: string; readonly onOpen?: () => void },
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<Kinds[K]>> {
    await this.#call('watch', kind, '', signal, undefined, () => {
      if (this.#isDeaf) throw new ApiError(503, 'ServiceUnavailable', 'told not to answer');
    });
    options.onOpen?.();
    let seen = Number(options.resourceVersion);
    while (!signal.aborted && !this.#isDeaf) {
      const next = this.#history.find((logged) => logged.kind === kind && logged.version > seen);
      if (next !== undefined) {
        seen = next.version;
        const event = seenThrough(options, next);
        if (event !== undefined) yield structuredClone(event) as WatchEvent<Kinds[K]>;
        continue;
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#watchers.delete(wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#watchers.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }

  async #call<T>(
    verb: Verb,
    kind: KindName,
    name: string,
    signal: AbortSignal,
    body: unknown,
    effect: () => T,
  ): Promise<T> {
    signal.throwIfAborted();
    this.calls.push({ verb, kind, name, ...(body === undefined ? {} : { body: structuredClone(body) }) });
    await Promise.resolve();
    signal.throwIfAborted();
    const hook = this.#hooks.findIndex((entry) => entry.verb === verb && entry.kind === kind);
    if (hook !== -1) this.#hooks.splice(hook, 1)[0]?.run();
    const fault = this.#faults.find((entry) => entry.verb === verb && entry.kind === kind && entry.left > 0);
    if (fault !== undefined) {
      fault.left -= 1;
      if (fault.afterEffect) effect();
      throw fault.error;
    }
    return structuredClone(effect());
  }

  #table(kind: KindName): Map<string, KubeObject> {
    const table = this.#objects.get(kind) ?? new Map<string, KubeObject>();
    this.#objects.set(kind, table);
    return table;
  }

  #find(kind: KindName, key: string): KubeObject {
    const found = this.#table(kind).get(key);
    if (found === undefined) throw new ApiError(404, 'NotFound', `${kind} "${key}" not found`);
    return found;
  }

  #insert<K extends KindName>(kind: K, object: Kinds[K]): Kinds[K] {
    const key = keyOf(object);
    if (this.#table(kind).has(key)) throw new ApiError(409, 'AlreadyExists', `${kind} ${key} already exists`);
    const copy = structuredClone(object) as unknown as KubeObject & Tree;
    copy.apiVersion = apiVersionOf(kind);
    copy.kind = kind;
    copy.metadata.uid ??= randomUUID();
    if (kind === 'PersistentVolume' || kind === 'PersistentVolumeClaim')
      copy['status'] ??= { phase: 'Pending' };
    this.#commit(kind, key, copy, 'ADDED');
    return copy as unknown as Kinds[K];
  }

  #replace(kind: KindName, key: string, object: KubeObject): KubeObject {
    const copy = structuredClone(object);
    const isGone =
      copy.metadata.deletionTimestamp !== undefined && (copy.metadata.finalizers ?? []).length === 0;
    this.#commit(kind, key, copy, isGone ? 'DELETED' : 'MODIFIED');
    return copy;
  }

  #delete(kind: KindName, key: string, object: KubeObject): void {
    const copy = structuredClone(object);
    if ((copy.metadata.finalizers ?? []).length === 0) this.#commit(kind, key, copy, 'DELETED');
    else if (copy.metadata.deletionTimestamp === undefined) {
      copy.metadata.deletionTimestamp = new Date(0).toISOString();
      this.#commit(kind, key, copy, 'MODIFIED');
    }
  }

  #commit(kind: KindName, key: string, object: KubeObject, type: 'ADDED' | 'MODIFIED' | 'DELETED'): void {
    this.#version += 1;
    object.metadata.resourceVersion = String(this.#version);
    const previous = this.#table(kind).get(key);
    if (type === 'DELETED') this.#table(kind).delete(key);
    else this.#table(kind).set(key, object);
    const event = { type, object: structuredClone(object) };
    this.#history.push({ kind, event, version: this.#version, previous: structuredClone(previous) });
    for (const wake of this.#watchers) wake();
  }
}

/** What a watch tells of a write: what comes into its selection was added, and what leaves it deleted, as it was before. */
function seenThrough(options: ListOptions, { event, previous }: Logged): Logged['event'] | undefined {
  const isIn = event.type !== 'DELETED' && selects(options, event.object);
  const wasIn = previous !== undefined && selects(options, previous);
  if (isIn) return { type: wasIn ? 'MODIFIED' : 'ADDED', object: event.object };
  if (!wasIn) return undefined;
  const { resourceVersion = '' } = event.object.metadata;
  return { type: 'DELETED', object: { ...previous, metadata: { ...previous.metadata, resourceVersion } } };
}

/** By namespace, a pod's node, and labels that have to be equal, or absent (`!key`). */
function selects(
  { namespace, labelSelector = '', fieldSelector }: ListOptions,
  object: KubeObject & { readonly spec?: { readonly nodeName?: string } },
): boolean {
  const { metadata } = object;
  if (namespace !== undefined && metadata.namespace !== namespace) return false;
  const [field, value] = fieldSelector?.split('=') ?? [];
  if (field === 'spec.nodeName' && object.spec?.nodeName !== value) return false;
  return labelSelector.split(',').every((term) => {
    if (term.startsWith('!')) return metadata.labels?.[term.slice(1)] === undefined;
    if (!/^[^!=]+=[^=]+$/.test(term)) return true;
    return metadata.labels?.[term.slice(0, term.indexOf('='))] === term.split('=')[1];
  });
}

/** RFC 7386, and of strategic merge what Loam uses: finalizers merge item by item. */
function merge(target: Tree, patch: Tree, isStrategic: boolean): Tree {
  const result: Tree = { ...target };
  for (const [key, value] of Object.entries(patch)) {
    const removal = key.startsWith('$deleteFromPrimitiveList/') ? key.slice(key.indexOf('/') + 1) : undefined;
    if (removal !== undefined) {
      result[removal] = ((result[removal] ?? []) as unknown[]).filter(
        (item) => !(value as unknown[]).includes(item),
      );
    } else if (value === null) delete result[key];
    else if (isStrategic && key === 'finalizers') {
      result[key] = [...new Set([...((result[key] ?? []) as unknown[]), ...(value as unknown[])])];
    } else if (typeof value === 'object' && !Array.isArray(value)) {
      result[key] = merge((result[key] ?? {}) as Tree, value as Tree, isStrategic);
    } else result[key] = value;
  }
  return result;
}
