import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { claimRefOf, logFacts } from '../claims/claim-facts.ts';
import { retryAfter } from './failed-turn.ts';
import type { ClusterView } from './watches.ts';

/** Somebody else wrote first; what they wrote has been read by then. */
const conflictMs = 20;

/**
 * Merge patches of a bound claim's status and of its PV, each with the resourceVersion that it was decided on, and what becomes of a
 * turn in which one fails. An undefined body is nothing to write.
 */
export class VersionedWrites {
  readonly #api: KubeApi;
  readonly #watches: ClusterView;
  readonly #log: Log;

  constructor(options: { readonly api: KubeApi; readonly watches: ClusterView; readonly log: Log }) {
    this.#api = options.api;
    this.#watches = options.watches;
    this.#log = options.log;
  }

  /** @returns the claim as it is now */
  async claimStatus(
    claim: PersistentVolumeClaim,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<PersistentVolumeClaim> {
    if (body === undefined) return claim;
    const { namespace = '', name } = claim.metadata;
    const [api, patch] = [this.#api, { type: 'merge', body } as const];
    const patched = await api.patch('PersistentVolumeClaim', { namespace, name }, patch, signal, 'status');
    this.#watches.putClaim(patched);
    return patched;
  }

  async volume({ metadata }: PersistentVolume, body: object | undefined, signal: AbortSignal): Promise<void> {
    if (body === undefined) return;
    const [api, patch] = [this.#api, { type: 'merge', body } as const];
    this.#watches.putVolume(await api.patch('PersistentVolume', { name: metadata.name }, patch, signal));
  }

  /** @param doing what could not be written, for the log */
  async recover(
    error: unknown,
    claim: PersistentVolumeClaim,
    doing: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    if (signal.aborted || isNotFound(error)) return { kind: 'done' };
    if (isConflict(error)) return this.#readAgain(claim, signal);
    const facts = { ...logFacts(claimRefOf(claim)), err: messageOf(error) };
    this.#log.warn(facts, `${doing} could not be recorded; trying again`);
    return retryAfter(error);
  }

  /** What was written meanwhile, without waiting for the watch to bring it. */
  async #readAgain(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<Outcome> {
    const [api, watches] = [this.#api, this.#watches];
    try {
      const live = await lookUp(api, 'PersistentVolumeClaim', claimRefOf(claim), signal);
      if (live !== undefined) watches.putClaim(live);
      const volume = await lookUp(api, 'PersistentVolume', { name: claim.spec.volumeName ?? '' }, signal);
      if (volume !== undefined) watches.putVolume(volume);
    } catch {
      return { kind: 'retry' };
    }
    return { kind: 'retry', afterMs: conflictMs };
  }
}
