import { ApiError } from '../kube/api-error.ts';
import type { KindName, Kinds } from '../kube/kinds.ts';
import type {
  KubeApi,
  ListRequest,
  ObjectKey,
  Page,
  Patch,
  WatchEvent,
  WatchOptions,
} from '../kube/kube-api.ts';
import { ApiFailure } from './api-failure.ts';
import { type Change, leftBehind } from './history.ts';
import type { ObjectStorage } from './object-storage.ts';
import { jsonPatch, mergePatch } from './patches.ts';
import { resourceOf } from './resources.ts';
import { parseSelectors, type Predicate } from './selectors.ts';
import type { StoredObject } from './stored-object.ts';
import { strategicPatch } from './strategic-patch.ts';

/** The storage as a KubeApi without a wire, for the control plane's own parts and for unit tests. Faults do not reach it. */
export function inProcessApi(storage: ObjectStorage): KubeApi {
  return {
    get: async (kind, key, signal) => answer(signal, () => storage.get(kind, key)),
    list: async (kind, options, signal) => answer(signal, () => listed(storage, kind, options)),
    create: async (kind, object, signal) => answer(signal, () => storage.create(kind, object)),
    patch: async <K extends KindName>(
      kind: K,
      key: ObjectKey,
      patch: Patch,
      signal: AbortSignal,
      subresource?: 'status',
    ) =>
      answer(signal, () =>
        storage.update(kind, key, (current) => patched(current, patch) as Kinds[K], {
          subresource,
          isPatch: true,
        }),
      ),
    remove: async (kind, key, signal, preconditions) =>
      answer(signal, () => void storage.remove(kind, key, preconditions)),
    watch: (kind, options, signal) => watched(storage, kind, options, signal),
  };
}

function answer<T>(signal: AbortSignal, work: () => T): T {
  signal.throwIfAborted();
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ApiFailure)) throw error;
    throw new ApiError(error.body.code, error.body.reason ?? '', error.message);
  }
}

function patched(current: unknown, patch: Patch): unknown {
  switch (patch.type) {
    case 'json':
      return jsonPatch(current, patch.body);
    case 'merge':
      return mergePatch(current, patch.body);
    case 'strategic':
      return strategicPatch(current, patch.body);
  }
}

function listed<K extends KindName>(
  storage: ObjectStorage,
  kind: K,
  options: ListRequest<Kinds[K]>,
): Page<Kinds[K]> {
  const { keep = () => true } = options;
  const items = storage
    .sorted(kind)
    .filter(parseSelectors(resourceOf(kind), options)) as unknown as Kinds[K][];
  return { items: items.filter(keep), resourceVersion: String(storage.revision) };
}

async function* watched<K extends KindName>(
  storage: ObjectStorage,
  kind: K,
  options: WatchOptions,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<Kinds[K]>> {
  const matches = parseSelectors(resourceOf(kind), options);
  const waiting: Change[] = [];
  let wake = (): void => {};
  const take = (change: Change): void => {
    if (
      change.kind !== kind ||
      !(matches(change.object) || (change.previous !== undefined && matches(change.previous)))
    )
      return;
    waiting.push(change);
    wake();
  };
  const unsubscribe = storage.history.subscribe(take);
  const onAbort = (): void => wake();
  signal.addEventListener('abort', onAbort);
  try {
    for (const change of answer(signal, () => storage.history.since(Number(options.resourceVersion))))
      take(change);
    options.onOpen?.();
    while (!signal.aborted) {
      const change = waiting.shift();
      if (change !== undefined) yield eventOf(change, matches);
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', onAbort);
  }
}

/** As over the wire: what comes into the selection is added, what goes out of it is deleted. */
function eventOf<T>(change: Change, matches: Predicate): WatchEvent<T> {
  const wasIn = change.previous !== undefined && matches(change.previous);
  const isIn = change.type !== 'DELETED' && matches(change.object);
  if (isIn) return { type: wasIn ? 'MODIFIED' : 'ADDED', object: change.object as StoredObject & T };
  const left = leftBehind(change);
  return { type: 'DELETED', object: left as StoredObject & T };
}
