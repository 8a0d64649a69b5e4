import type { Clock } from '../model/clock.ts';
import type { Metrics } from '../model/metrics.ts';
import { systemClock } from '../model/system-clock.ts';
import type { KubeAccess } from './access.ts';
import { ApiUnreachable, isExpired } from './api-error.ts';
import { type HttpRequest, Transport } from './http.ts';
import { apiVersionOf, type KindName, type Kinds } from './kinds.ts';
import type { KubeApi, ListRequest, ObjectKey, Page, Patch, WatchEvent, WatchOptions } from './kube-api.ts';
import { collectionPath, creationPath, objectPath, queryText } from './resource-path.ts';
import { mayRepeatRead, mayRepeatWrite, withRetries } from './retry.ts';
import { jsonLines } from './watch-stream.ts';
import { withoutManagedFields } from './without-managed-fields.ts';

export { loadKubeAccess, plainKubeAccess } from './access.ts';

const pageSize = '500';

const patchTypes: Readonly<Record<Patch['type'], string>> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
};

interface KubeApiOptions {
  readonly metrics: Metrics;
  /** `loam/<version>` */
  readonly userAgent: string;
  readonly clock?: Clock;
  /** for one try of one request, 30 s unless told; watches are bounded by their own `timeoutSeconds` */
  readonly requestTimeoutMs?: number;
}

interface ListAnswer<T> {
  readonly items: readonly T[] | null;
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

/**
 * The Kubernetes API over a few shared connections.
 *
 * Reads are tried four times before their failure is told; writes are repeated after 429 only. There is no client-side rate limit: the
 * server's own (429 with Retry-After) is honoured. Objects come as the server wrote them, without managedFields.
 */
export function createKubeApi(
  access: KubeAccess,
  options: KubeApiOptions,
): KubeApi & { close(): Promise<void> } {
  const clock = options.clock ?? systemClock;
  const transport = new Transport({
    access,
    userAgent: options.userAgent,
    metrics: options.metrics,
    clock,
    timeoutMs: options.requestTimeoutMs ?? 30_000,
  });

  /** The one place where the server's word is taken for what an answer contains. */
  const send = async <T>(request: HttpRequest, signal: AbortSignal): Promise<T> => {
    const mayRepeat = request.method === 'GET' ? mayRepeatRead : mayRepeatWrite;
    return (await withRetries(() => transport.send(request, signal), mayRepeat, clock, signal)) as T;
  };

  const listAll = async <K extends KindName>(kind: K, query: ListRequest<Kinds[K]>, signal: AbortSignal) => {
    const { keep = () => true } = query;
    const items: Kinds[K][] = [];
    for (let next = ''; ;) {
      const more = { limit: pageSize, ...(next !== '' && { continue: next }) };
      const path = collectionPath(kind, query.namespace) + queryText(query, more);
      const page = await send<ListAnswer<Kinds[K]>>({ method: 'GET', path }, signal);
      for (const item of page.items ?? []) if (keep(item)) items.push(withoutManagedFields(item));
      next = page.metadata.continue ?? '';
      if (next === '') return { items, resourceVersion: page.metadata.resourceVersion };
    }
  };

  return {
    get: async (kind, key, signal) =>
      withoutManagedFields(await send({ method: 'GET', path: objectPath(kind, key) }, signal)),

    list: async <K extends KindName>(
      kind: K,
      query: ListRequest<Kinds[K]>,
      signal: AbortSignal,
    ): Promise<Page<Kinds[K]>> => {
      try {
        return await listAll(kind, query, signal);
      } catch (error) {
        // the later pages' version was compacted away meanwhile: once more from the beginning
        if (!isExpired(error)) throw error;
        return listAll(kind, query, signal);
      }
    },

    create: async (kind, object, signal) => {
      const path = creationPath(kind, object.metadata);
      const text = JSON.stringify({ apiVersion: apiVersionOf(kind), kind, ...object });
      return withoutManagedFields(
        await send({ method: 'POST', path, body: { type: 'application/json', text } }, signal),
      );
    },

    patch: async (kind, key, patch, signal, subresource) => {
      const body = { type: patchTypes[patch.type], text: JSON.stringify(patch.body) };
      return withoutManagedFields(
        await send({ method: 'PATCH', path: objectPath(kind, key, subresource), body }, signal),
      );
    },

    remove: async (kind: KindName, key: ObjectKey, signal, options) => {
      const { gracePeriodSeconds, ...preconditions } = options ?? {};
      const text = JSON.stringify({
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }),
        ...(Object.keys(preconditions).length > 0 && { preconditions }),
      });
      await send(
        { method: 'DELETE', path: objectPath(kind, key), body: { type: 'application/json', text } },
        signal,
      );
    },

    watch: <K extends KindName>(kind: K, query: WatchOptions, signal: AbortSignal) =>
      watchEvents<K>(transport, kind, query, signal),

    close: () => transport.close(),
  };
}

async function* watchEvents<K extends KindName>(
  transport: Transport,
  kind: K,
  options: WatchOptions,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<Kinds[K]>> {
  const query = queryText(options, {
    watch: 'true',
    allowWatchBookmarks: 'true',
    resourceVersion: options.resourceVersion,
    timeoutSeconds: String(options.timeoutSeconds),
  });
  const request: HttpRequest = { method: 'GET', path: collectionPath(kind, options.namespace) + query };
  try {
    for await (const event of jsonLines(transport.stream(request, signal, options.onOpen))) {
      yield event as WatchEvent<Kinds[K]>;
    }
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) {
      throw new ApiUnreachable(`the watch of ${kind} sent something that is no event`, { cause: error });
    }
    throw error;
  }
}
