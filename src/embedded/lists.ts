import type { ObjectStorage } from './object-storage.ts';
import { ApiFailure, badRequest, expired } from './api-failure.ts';
import type { ResourceRequest } from './request.ts';
import { parseSelectors } from './selectors.ts';
import type { StoredObject } from './stored-object.ts';

export interface ListPage {
  readonly items: readonly StoredObject[];
  readonly metadata: {
    readonly resourceVersion: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
}

interface Rest {
  readonly items: readonly StoredObject[];
  readonly revision: number;
}

/** How many unfinished paged lists are remembered; a real server forgets them by time. */
const keptLists = 200;

/** Lists, whole or in pages; all pages of a list show the moment of its first. */
export class Lists {
  readonly #storage: ObjectStorage;
  readonly #unfinished = new Map<string, Rest>();
  #lastToken = 0;

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  page(request: ResourceRequest): ListPage {
    const limit = Number(request.query.get('limit') ?? '0');
    const token = request.query.get('continue') ?? '';
    const { items, revision } = token === '' ? this.#begin(request) : this.#resume(token);
    if (!(limit > 0) || items.length <= limit)
      return { items, metadata: { resourceVersion: String(revision) } };
    const rest = items.slice(limit);
    const metadata = {
      resourceVersion: String(revision),
      continue: this.#keep({ items: rest, revision }),
      remainingItemCount: rest.length,
    };
    return { items: items.slice(0, limit), metadata };
  }

  /** Page tokens from before a compaction are worth nothing. */
  forget(): void {
    this.#unfinished.clear();
  }

  #begin(request: ResourceRequest): Rest {
    const { revision } = this.#storage;
    const asked = request.query.get('resourceVersion') ?? '';
    if (!/^\d*$/.test(asked)) throw badRequest(`invalid resource version: ${JSON.stringify(asked)}`);
    if (Number(asked) > revision) {
      throw new ApiFailure(504, 'Timeout', `Too large resource version: ${asked}, current: ${revision}`, {
        retryAfterSeconds: 1,
      });
    }
    const matches = parseSelectors(request.resource, selectorsOf(request));
    return { items: this.#storage.sorted(request.resource.kind).filter(matches), revision };
  }

  #resume(token: string): Rest {
    const rest = this.#unfinished.get(token);
    if (rest !== undefined) return rest;
    throw expired(
      'The provided continue parameter is too old to display a consistent list result; start a new list without it.',
    );
  }

  #keep(rest: Rest): string {
    this.#lastToken += 1;
    const token = `page-${this.#lastToken}`;
    this.#unfinished.set(token, rest);
    const [oldest] = this.#unfinished.keys();
    if (this.#unfinished.size > keptLists && oldest !== undefined) this.#unfinished.delete(oldest);
    return token;
  }
}

export function selectorsOf(request: ResourceRequest): {
  namespace?: string | undefined;
  labelSelector?: string;
  fieldSelector?: string;
} {
  return {
    namespace: request.namespace,
    labelSelector: request.query.get('labelSelector') ?? '',
    fieldSelector: request.query.get('fieldSelector') ?? '',
  };
}
