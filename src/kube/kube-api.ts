import type { KindName, Kinds } from './kinds.ts';

export interface ObjectKey {
  /** unset for cluster-wide kinds */
  readonly namespace?: string;
  readonly name: string;
}

export type Patch =
  | { readonly type: 'merge'; readonly body: object }
  | { readonly type: 'strategic'; readonly body: object }
  | { readonly type: 'json'; readonly body: readonly JsonPatchStep[] };

export interface JsonPatchStep {
  readonly op: 'add' | 'remove' | 'replace' | 'test';
  readonly path: string;
  readonly value?: unknown;
}

/** Preconditions of a deletion, and how long a pod may take over it. */
export interface RemoveOptions {
  readonly uid?: string;
  readonly resourceVersion?: string;
  /** 0: without kubelet, as for a pod whose node is not there. Unset: as the object says */
  readonly gracePeriodSeconds?: number;
}

export interface ListOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface ListRequest<T> extends ListOptions {
  /** only those are in the answer; applied page by page, so that what is not wanted is not held in memory */
  readonly keep?: (object: T) => boolean;
}

export interface WatchOptions extends ListOptions {
  readonly resourceVersion: string;
  readonly timeoutSeconds: number;
  /** Called once when the server has accepted the watch; without events nothing else would tell. */
  readonly onOpen?: () => void;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  | {
      readonly type: 'BOOKMARK';
      readonly object: { readonly metadata: { readonly resourceVersion: string } };
    }
  | {
      readonly type: 'ERROR';
      readonly object: { readonly code?: number; readonly message?: string; readonly reason?: string };
    };

/**
 * The Kubernetes API as Loam uses it. Every call takes a signal; failures are `ApiError`s with the server's status and reason,
 * or `ApiUnreachable` where no answer came.
 */
export interface KubeApi {
  get<K extends KindName>(kind: K, key: ObjectKey, signal: AbortSignal): Promise<Kinds[K]>;
  /** All pages. */
  list<K extends KindName>(
    kind: K,
    options: ListRequest<Kinds[K]>,
    signal: AbortSignal,
  ): Promise<Page<Kinds[K]>>;
  create<K extends KindName>(kind: K, object: Kinds[K], signal: AbortSignal): Promise<Kinds[K]>;
  patch<K extends KindName>(
    kind: K,
    key: ObjectKey,
    patch: Patch,
    signal: AbortSignal,
    subresource?: 'status',
  ): Promise<Kinds[K]>;
  remove(kind: KindName, key: ObjectKey, signal: AbortSignal, options?: RemoveOptions): Promise<void>;
  /** One watch from a resourceVersion until the server, the network or the signal ends it. */
  watch<K extends KindName>(
    kind: K,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<Kinds[K]>>;
}
