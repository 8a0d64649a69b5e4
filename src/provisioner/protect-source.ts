import { ApiError, isConflict, isKindMissing, isNotFound } from '../kube/api-error.ts';
import { backOffMs } from '../kube/back-off.ts';
import type { KubeApi, Patch } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { ObjectMeta, PersistentVolumeClaim, VolumeSnapshot } from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf, StorageError } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { cloningFinalizer, restoringFinalizer } from '../claims/annotations.ts';
import { describeSource, type SourceRef } from '../claims/data-source.ts';
import type { ClusterView } from './watches.ts';

/** A crowd of claims of one source has it protected once, and not once each. */
export const lingerMs = 1_000;
const tries = 5;
/** Nobody can delete the source until it is off. */
const removalWaits = { baseMs: 1_000, maxMs: 60_000 };

interface ProtectionOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is being copied from, and by whom. */
interface Held {
  readonly ref: SourceRef;
  readonly claims: Set<string>;
  /** the removal that waits, or is under way */
  removal: Promise<void> | undefined;
  cancel: () => void;
  /** removals in a row that failed */
  failures: number;
}

/**
 * Keeps snapshots and claims from being deleted while volumes are made of them, by upstream's finalizers. Where those may not be
 * written, copies are made all the same. A finalizer that a crash leaves is the sweep's: sweep-protection.ts.
 */
export class SourceProtection {
  readonly #options: ProtectionOptions;
  readonly #held = new Map<string, Held>();
  readonly #refOf = new Map<string, SourceRef>();
  /** a removal failed, so that a finalizer is left which nobody holds */
  hasLeftovers = true;
  #isForbidden = false;
  readonly #signal: AbortSignal;

  /** @param signal ends what still waits to be removed: the next process's sweep will */
  constructor(options: ProtectionOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  isHeld(ref: SourceRef): boolean {
    return (this.#held.get(describeSource(ref))?.claims.size ?? 0) > 0;
  }

  /** From now on the finalizer is not taken off; resolves when nobody is about to. To be called before the source is looked up. */
  async reserve(claimUid: string, ref: SourceRef): Promise<void> {
    const before = this.#refOf.get(claimUid);
    if (before !== undefined && describeSource(before) !== describeSource(ref)) this.release(claimUid);
    this.#refOf.set(claimUid, ref);
    const held = this.#entryOf(ref);
    held.claims.add(claimUid);
    held.cancel();
    await held.removal;
  }

  /** Puts the finalizer on the source where it is not there yet. @throws what the write threw, but for Forbidden */
  async protect(
    ref: SourceRef,
    object: VolumeSnapshot | PersistentVolumeClaim,
    signal: AbortSignal,
  ): Promise<void> {
    const finalizer = finalizerOf(ref);
    if (object.metadata.finalizers?.includes(finalizer) === true) return;
    // another claim's attempt may have been quicker
    const added = (names: readonly string[]) => (names.includes(finalizer) ? names : [...names, finalizer]);
    await this.#change(ref, object.metadata, added, signal);
  }

  /** The claim has its volume, or does not want it any more. The finalizer goes a moment after the last claim. */
  release(claimUid: string): void {
    const ref = this.#refOf.get(claimUid);
    if (ref === undefined) return;
    this.#refOf.delete(claimUid);
    const held = this.#held.get(describeSource(ref));
    if (held === undefined) return;
    held.claims.delete(claimUid);
    if (held.claims.size > 0) return;
    held.cancel();
    held.cancel = this.#options.clock.after(lingerMs, () => {
      held.removal ??= this.#removeUnheld(held);
    });
  }

  /** Takes the finalizer off a source that nobody here holds. Never throws: what cannot be done now is a leftover. */
  async end(ref: SourceRef): Promise<void> {
    const held = this.#entryOf(ref);
    held.cancel();
    held.removal ??= this.#removeUnheld(held);
    await held.removal;
  }

  #entryOf(ref: SourceRef): Held {
    const key = describeSource(ref);
    const held = this.#held.get(key) ?? {
      ref,
      claims: new Set(),
      removal: undefined,
      cancel: () => {},
      failures: 0,
    };
    this.#held.set(key, held);
    return held;
  }

  async #removeUnheld(held: Held): Promise<void> {
    let hasFailed = false;
    try {
      if (held.claims.size > 0) return;
      const finalizer = finalizerOf(held.ref);
      const metadata = await this.#look(held.ref, this.#signal);
      if (metadata?.finalizers?.includes(finalizer) !== true) return;
      const without = (names: readonly string[]) => names.filter((name) => name !== finalizer);
      await this.#change(held.ref, metadata, without, this.#signal);
    } catch (error) {
      this.hasLeftovers = true;
      hasFailed = true;
      if (!this.#signal.aborted) {
        const facts = { source: describeSource(held.ref), err: messageOf(error) };
        this.#options.log.warn(facts, 'could not end the protection of a source; trying again later');
      }
    } finally {
      held.removal = undefined;
      if (held.claims.size === 0) {
        if (hasFailed && !this.#signal.aborted) this.#removeLater(held);
        else this.#held.delete(describeSource(held.ref));
      }
    }
  }

  #removeLater(held: Held): void {
    held.failures += 1;
    held.cancel = this.#options.clock.after(backOffMs(held.failures, removalWaits), () => {
      held.removal ??= this.#removeUnheld(held);
    });
  }

  async #change(
    ref: SourceRef,
    found: ObjectMeta,
    change: (finalizers: readonly string[]) => readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    let metadata: ObjectMeta | undefined = found;
    for (let attempt = 1; metadata !== undefined; attempt += 1) {
      const { resourceVersion, finalizers: names = [] } = metadata;
      const finalizers = change(names);
      if (String(finalizers) === String(names)) return;
      // the API server takes no new finalizer then, and the copy would be of something that goes meanwhile
      if (metadata.deletionTimestamp !== undefined && finalizers.length > names.length)
        throw new StorageError('source-not-found', `${describeSource(ref)} is being deleted`);
      try {
        await this.#patch(
          ref,
          { type: 'merge', body: { metadata: { resourceVersion, finalizers } } },
          signal,
        );
        return;
      } catch (error) {
        if (error instanceof ApiError && error.status === 403) return this.#forbidden(ref, error);
        if (isNotFound(error)) return;
        if (!isConflict(error) || attempt === tries) throw error;
      }
      metadata = await this.#look(ref, signal);
    }
  }

  async #look({ kind, namespace, name }: SourceRef, signal: AbortSignal): Promise<ObjectMeta | undefined> {
    const { api } = this.#options;
    const key = { namespace, name };
    if (kind === 'claim') return (await lookUp(api, 'PersistentVolumeClaim', key, signal))?.metadata;
    return (await lookUp(api, 'VolumeSnapshot', key, signal))?.metadata;
  }

  async #patch({ kind, namespace, name }: SourceRef, patch: Patch, signal: AbortSignal): Promise<void> {
    const { api, watches } = this.#options;
    const key = { namespace, name };
    if (kind === 'snapshot') {
      await api.patch('VolumeSnapshot', key, patch, signal);
      return;
    }
    watches.putClaim(await api.patch('PersistentVolumeClaim', key, patch, signal));
  }

  #forbidden(ref: SourceRef, error: ApiError): void {
    const facts = { source: describeSource(ref), err: error.message };
    if (!this.#isForbidden)
      this.#options.log.warn(facts, 'sources are not protected while they are copied: it is not allowed');
    this.#isForbidden = true;
  }
}

function finalizerOf({ kind }: SourceRef): string {
  return kind === 'snapshot' ? restoringFinalizer : cloningFinalizer;
}

/** Whether a look failed for good: the kind is not installed, or may not be read. */
export function isOutOfReach(error: unknown): boolean {
  return isKindMissing(error) || (error instanceof ApiError && error.status === 403);
}
