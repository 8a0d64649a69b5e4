import { randomBytes, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { apiVersionOf, type KindName, type Kinds } from '../kube/kinds.ts';
import type { KubeObject, Pod } from '../kube/objects.ts';
import type { ObjectKey } from '../kube/kube-api.ts';
import type { Clock } from '../model/clock.ts';
import {
  ApiFailure,
  alreadyExists,
  conflict,
  deleteConflict,
  forbidden,
  invalid,
  notFound,
} from './api-failure.ts';
import { setDefaults } from './defaults.ts';
import { History } from './history.ts';
import { resourceOf } from './resources.ts';
import { deepFreeze, wireCopy, type StoredMeta, type StoredObject } from './stored-object.ts';
import { validate } from './validation.ts';

export interface RemoveOptions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  /** 0 takes a pod away at once; unset leaves a scheduled pod to its kubelet */
  readonly gracePeriodSeconds?: number | undefined;
  readonly isDryRun?: boolean;
}

/** What a write does besides writing. */
export interface WriteOptions {
  readonly subresource?: 'status' | undefined;
  readonly isDryRun?: boolean;
  /** a patch cannot mean another object: a uid in it is a field that may not change, not a precondition */
  readonly isPatch?: boolean;
}

/**
 * The objects of the embedded control plane, with an API server's rules: one growing resourceVersion, optimistic
 * locking, finalizers, status apart from spec. Synchronous, so every operation is atomic. Reads answer shared frozen objects.
 *
 * All errors are ApiFailures that carry the Status to answer with.
 */
export class ObjectStorage {
  readonly history: History;
  readonly #clock: Clock;
  readonly #objects = new Map<KindName, Map<string, StoredObject>>();
  #revision = 0;

  constructor(options: { readonly clock: Clock; readonly historyLimit?: number }) {
    this.#clock = options.clock;
    this.history = new History(options.historyLimit ?? 10_000);
    for (const name of ['default', 'kube-system']) this.create('Namespace', { metadata: { name } });
  }

  /** The resourceVersion of the newest write. */
  get revision(): number {
    return this.#revision;
  }

  find<K extends KindName>(kind: K, key: ObjectKey): Kinds[K] | undefined {
    return this.#stored(kind, key) as unknown as Kinds[K] | undefined;
  }

  get<K extends KindName>(kind: K, key: ObjectKey): Kinds[K] {
    const found = this.find(kind, key);
    if (found === undefined) throw notFound(resourceOf(kind), key.name);
    return found;
  }

  /** All objects of a kind, in no order. */
  all<K extends KindName>(kind: K): IterableIterator<Kinds[K]> {
    return this.#of(kind).values() as unknown as IterableIterator<Kinds[K]>;
  }

  /** All objects of a kind as they are kept, by namespace and name, as lists are answered. */
  sorted(kind: KindName): StoredObject[] {
    const entries = [...this.#of(kind).entries()];
    return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  create<K extends KindName>(kind: K, object: Kinds[K], options: WriteOptions = {}): Kinds[K] {
    const resource = resourceOf(kind);
    const draft = wireCopy(object) as Kinds[K] & KubeObject;
    if ((draft.metadata.resourceVersion ?? '') !== '') throw versionOnCreate();
    const { generateName } = draft.metadata;
    if (!draft.metadata.name && generateName) draft.metadata.name = `${generateName}${randomSuffix()}`;
    if (!draft.metadata.name) throw nameless(kind);
    this.#placeInNamespace(kind, draft);
    setDefaults(kind, draft, () => this.#defaultClass());
    validate(kind, draft, undefined);
    if (this.#of(kind).has(keyText(draft.metadata))) throw alreadyExists(resource, draft.metadata.name);
    const { name, namespace, deletionTimestamp: _, ...rest } = draft.metadata;
    const metadata: StoredMeta = {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...rest,
      uid: randomUUID(),
      resourceVersion: '',
      creationTimestamp: this.#timestamp(),
    };
    const fresh = { ...draft, apiVersion: apiVersionOf(kind), kind, metadata };
    return this.#write(kind, undefined, fresh, options) as unknown as Kinds[K];
  }

  /**
   * Replaces an object by what `change` makes of it; `metadata.resourceVersion` in the result is a precondition.
   * A result equal to what is there writes nothing. Taking the last finalizer off a deleted object removes it.
   */
  update<K extends KindName>(
    kind: K,
    key: ObjectKey,
    change: (current: Kinds[K]) => Kinds[K],
    options: WriteOptions = {},
  ): Kinds[K] {
    const current = this.#existing(kind, key);
    const draft = wireCopy(change(current as unknown as Kinds[K])) as unknown as StoredObject;
    const { uid, resourceVersion } = draft.metadata;
    if (options.isPatch === true && uid !== current.metadata.uid) throw immutableUid(kind, key.name, uid);
    this.#checkPreconditions(kind, current, { uid, resourceVersion });
    const next = this.#merge(kind, current, draft, options.subresource);
    validate(kind, next as unknown as Kinds[K], current as unknown as Kinds[K]);
    if (isDeepStrictEqual(next, current)) return current as unknown as Kinds[K];
    const written = this.#write(kind, current, next, options);
    if (options.isDryRun !== true) this.#removeWhenFree(kind, written);
    return written as unknown as Kinds[K];
  }

  /** DELETE: gone at once, or marked as being deleted while a finalizer or a kubelet holds it. Answers what is or was there. */
  remove<K extends KindName>(kind: K, key: ObjectKey, options: RemoveOptions = {}): Kinds[K] {
    const current = this.#existing(kind, key);
    this.#checkPreconditions(kind, current, options, deleteConflict);
    if (kind === 'Namespace' && ['default', 'kube-system'].includes(key.name)) {
      throw forbidden(resourceOf(kind), key.name, 'this namespace may not be deleted');
    }
    if (options.isDryRun === true) return current as unknown as Kinds[K];
    const grace = graceSeconds(kind, current as unknown as Pod, options);
    if (isHeld(current) || grace > 0) return this.#mark(kind, current, grace) as unknown as Kinds[K];
    return this.#take(kind, current) as unknown as Kinds[K];
  }

  /** Sets deletionTimestamp, once; a shorter grace than before counts. */
  #mark(kind: KindName, current: StoredObject, grace: number): StoredObject {
    const before = current.metadata.deletionGracePeriodSeconds;
    if (before !== undefined && before <= grace) return current;
    const deletionTimestamp = current.metadata.deletionTimestamp ?? this.#timestamp();
    const metadata = { ...current.metadata, deletionTimestamp, deletionGracePeriodSeconds: grace };
    const marked = this.#write(kind, current, { ...current, metadata }, {});
    this.#removeWhenFree(kind, marked);
    return marked;
  }

  /** Removes what is being deleted and is held by nobody any more. */
  #removeWhenFree(kind: KindName, object: StoredObject): void {
    const { deletionTimestamp, deletionGracePeriodSeconds } = object.metadata;
    if (deletionTimestamp === undefined || isHeld(object) || (deletionGracePeriodSeconds ?? 0) > 0) return;
    this.#take(kind, object);
  }

  #take(kind: KindName, object: StoredObject): StoredObject {
    const key = keyText(object.metadata);
    const previous = this.#of(kind).get(key);
    this.#of(kind).delete(key);
    this.#revision += 1;
    const last = deepFreeze({
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(this.#revision) },
    });
    this.history.append({ revision: this.#revision, type: 'DELETED', kind, object: last, previous });
    if (kind === 'Namespace') this.#empty(object.metadata.name);
    return last;
  }

  /** Whatever lived in a removed namespace goes too; what a finalizer holds goes when it is let go. */
  #empty(namespace: string): void {
    for (const kind of this.#objects.keys()) {
      if (!resourceOf(kind).namespaced) continue;
      for (const object of this.sorted(kind)) {
        if (object.metadata.namespace === namespace)
          this.remove(kind, object.metadata, { gracePeriodSeconds: 0 });
      }
    }
  }

  /** The half that this endpoint may write from the draft, the other half and the server's own fields from what is there. */
  #merge(
    kind: KindName,
    current: StoredObject,
    draft: StoredObject,
    subresource: 'status' | undefined,
  ): StoredObject {
    const { uid, resourceVersion, creationTimestamp, name, namespace } = current.metadata;
    const { deletionTimestamp, deletionGracePeriodSeconds } = current.metadata;
    const metadata: StoredMeta = {
      ...draft.metadata,
      name,
      ...(namespace === undefined ? {} : { namespace }),
      uid,
      resourceVersion,
      creationTimestamp,
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      ...(deletionGracePeriodSeconds === undefined ? {} : { deletionGracePeriodSeconds }),
    };
    if (deletionTimestamp === undefined) delete metadata.deletionTimestamp;
    if (metadata.finalizers?.length === 0) delete metadata.finalizers;
    const next: StoredObject = { ...draft, apiVersion: apiVersionOf(kind), kind, metadata };
    if (!resourceOf(kind).hasStatus) return next;
    if (subresource !== 'status')
      return current.status === undefined ? withoutStatus(next) : { ...next, status: current.status };
    const { status } = draft;
    return { ...current, metadata, ...(status === undefined ? {} : { status }) };
  }

  #write(
    kind: KindName,
    previous: StoredObject | undefined,
    next: StoredObject,
    options: WriteOptions,
  ): StoredObject {
    if (options.isDryRun === true) return next;
    this.#revision += 1;
    const object = deepFreeze({
      ...next,
      metadata: { ...next.metadata, resourceVersion: String(this.#revision) },
    });
    this.#of(kind).set(keyText(object.metadata), object);
    const type = previous === undefined ? 'ADDED' : 'MODIFIED';
    this.history.append({ revision: this.#revision, type, kind, object, previous });
    return object;
  }

  #checkPreconditions(kind: KindName, current: StoredObject, asked: RemoveOptions, refusal = conflict): void {
    const { uid, resourceVersion, name } = current.metadata;
    if (asked.uid !== undefined && asked.uid !== '' && asked.uid !== uid) {
      throw refusal(
        resourceOf(kind),
        name,
        `Precondition failed: UID in precondition: ${asked.uid}, UID in object meta: ${uid}`,
      );
    }
    if (
      asked.resourceVersion !== undefined &&
      asked.resourceVersion !== '' &&
      asked.resourceVersion !== resourceVersion
    ) {
      const why =
        'the object has been modified; please apply your changes to the latest version and try again';
      throw refusal(resourceOf(kind), name, why);
    }
  }

  #placeInNamespace(kind: KindName, draft: KubeObject): void {
    if (!resourceOf(kind).namespaced) {
      delete draft.metadata.namespace;
      return;
    }
    draft.metadata.namespace ??= 'default';
    this.get('Namespace', { name: draft.metadata.namespace });
  }

  #defaultClass(): string | undefined {
    const marked = 'storageclass.kubernetes.io/is-default-class';
    const found = [...this.all('StorageClass')].filter(
      ({ metadata }) => metadata.annotations?.[marked] === 'true',
    );
    return found.toSorted((a, b) =>
      (a.metadata.creationTimestamp ?? '') < (b.metadata.creationTimestamp ?? '') ? 1 : -1,
    )[0]?.metadata.name;
  }

  #existing(kind: KindName, key: ObjectKey): StoredObject {
    const found = this.#stored(kind, key);
    if (found === undefined) throw notFound(resourceOf(kind), key.name);
    return found;
  }

  #stored(kind: KindName, key: ObjectKey): StoredObject | undefined {
    return this.#of(kind).get(keyText(key));
  }

  #of(kind: KindName): Map<string, StoredObject> {
    let map = this.#objects.get(kind);
    if (map === undefined) {
      map = new Map<string, StoredObject>();
      this.#objects.set(kind, map);
    }
    return map;
  }

  /** RFC 3339 in whole seconds, as API servers write it. */
  #timestamp(): string {
    return `${new Date(this.#clock.nowMs()).toISOString().slice(0, 19)}Z`;
  }
}

function keyText(key: { readonly namespace?: string; readonly name: string }): string {
  return key.namespace === undefined ? key.name : `${key.namespace}/${key.name}`;
}

function isHeld(object: StoredObject): boolean {
  return (object.metadata.finalizers?.length ?? 0) > 0;
}

/** A pod on a node ends only when its kubelet says so; everything else has no grace. */
function graceSeconds(kind: KindName, pod: Pod, options: RemoveOptions): number {
  if (kind !== 'Pod' || (pod.spec?.nodeName ?? '') === '') return 0;
  const isOver = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  return isOver ? 0 : (options.gracePeriodSeconds ?? 30);
}

function withoutStatus(object: StoredObject): StoredObject {
  const { status: _, ...rest } = object;
  return rest;
}

function randomSuffix(): string {
  const letters = 'bcdfghjklmnpqrstvwxz2456789';
  return Array.from(randomBytes(5), (byte) => letters[byte % letters.length]).join('');
}

function immutableUid(kind: KindName, name: string, uid: string): Error {
  const message = `Invalid value: ${JSON.stringify(uid)}: field is immutable`;
  return invalid(resourceOf(kind), name, [{ reason: 'FieldValueInvalid', message, field: 'metadata.uid' }]);
}

/** An API server has no better word for it. */
function versionOnCreate(): ApiFailure {
  return new ApiFailure(500, '', 'resourceVersion should not be set on objects to be created');
}

function nameless(kind: KindName): Error {
  const message = 'Required value: name or generateName is required';
  return invalid(resourceOf(kind), '', [{ reason: 'FieldValueRequired', message, field: 'metadata.name' }]);
}
