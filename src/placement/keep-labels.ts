import { nodeLabel } from '../claims/annotations.ts';
import { claimKey, classNameOf } from '../claims/claim-facts.ts';
import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { KubeObject, PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { type Outcome, WorkQueue } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { decideClaimLabel, decideVolumeLabel, type LabelDecision } from './decide-label.ts';
import type { Watches } from './watches.ts';

/** At a first start thousands of objects may need it, and nothing is as urgent as a claim's own way. */
const workers = 4;
const backoff = { baseMs: 200, maxMs: 60_000 };

interface LabelKeeperOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly driverName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Keeps the label that nodes with scoped watches find their claims and PVs by: one patch with the version as precondition where it is
 * not right, none where it is. The label is an index and decides nothing, so that one which is late, wrong or lost does no harm but delay.
 */
export class LabelKeeper {
  readonly #options: LabelKeeperOptions;
  readonly #queue: WorkQueue;

  constructor(options: LabelKeeperOptions) {
    this.#options = options;
    this.#queue = new WorkQueue({
      ...options,
      name: 'labels',
      reconcile: (key, signal) => this.#reconcile(key, signal),
      workers,
      backoff,
    });
  }

  /** To be called before the watches start. */
  listen(): void {
    const { watches } = this.#options;
    watches.on('PersistentVolumeClaim', ({ current }) => {
      if (current !== undefined) this.#lookAtClaim(current);
    });
    watches.on('PersistentVolume', ({ current }) => {
      if (current !== undefined) this.#lookAtVolume(current);
    });
    watches.on('StorageClass', ({ current }) => {
      if (current?.provisioner !== this.#options.driverName) return;
      for (const claim of watches.claims())
        if (classNameOf(claim) === current.metadata.name) this.#lookAtClaim(claim);
    });
  }

  start(signal: AbortSignal): void {
    this.#queue.start(signal);
    this.lookAtAll();
  }

  lookAtAll(): void {
    const { watches } = this.#options;
    for (const claim of watches.claims()) this.#lookAtClaim(claim);
    for (const volume of watches.volumes()) this.#lookAtVolume(volume);
  }

  /** Resolves when the signal has aborted and nothing is under way any more. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  measure(): void {
    this.#queue.measure();
  }

  #lookAtClaim(claim: PersistentVolumeClaim): void {
    if (this.#decideClaim(claim).kind === 'write') this.#queue.add(claimKey(claim.metadata));
  }

  #lookAtVolume(volume: PersistentVolume): void {
    if (this.#decideVolume(volume).kind === 'write') this.#queue.add(volume.metadata.name);
  }

  #decideClaim(claim: PersistentVolumeClaim): LabelDecision {
    const { watches, driverName } = this.#options;
    return decideClaimLabel(claim, watches.classOf(claim), driverName);
  }

  #decideVolume(volume: PersistentVolume): LabelDecision {
    return decideVolumeLabel(volume, this.#options.driverName);
  }

  /** @param key `namespace/name` of a claim, or the name of a PV */
  async #reconcile(key: string, signal: AbortSignal): Promise<Outcome> {
    try {
      if (key.includes('/')) await this.#labelClaim(key, signal);
      else await this.#labelVolume(key, signal);
    } catch (error) {
      if (isNotFound(error)) return { kind: 'done' };
      // the watch brings what has changed, and with it the next try
      if (isConflict(error)) return { kind: 'retry' };
      throw error;
    }
    return { kind: 'done' };
  }

  async #labelClaim(key: string, signal: AbortSignal): Promise<void> {
    const { api, watches } = this.#options;
    const claim = watches.claimNamed(key);
    const decision = claim === undefined ? undefined : this.#decideClaim(claim);
    if (claim === undefined || decision?.kind !== 'write') return;
    const { namespace = '', name } = claim.metadata;
    const patch = labelPatch(claim, decision.value);
    watches.putClaim(await api.patch('PersistentVolumeClaim', { namespace, name }, patch, signal));
    this.#written('PersistentVolumeClaim', key, decision);
  }

  async #labelVolume(name: string, signal: AbortSignal): Promise<void> {
    const { api, watches } = this.#options;
    const volume = watches.volume(name);
    const decision = volume === undefined ? undefined : this.#decideVolume(volume);
    if (volume === undefined || decision?.kind !== 'write') return;
    const patch = labelPatch(volume, decision.value);
    watches.putVolume(await api.patch('PersistentVolume', { name }, patch, signal));
    this.#written('PersistentVolume', name, decision);
  }

  #written(kind: string, name: string, { reason, value }: LabelDecision & { readonly kind: 'write' }): void {
    const { log, metrics } = this.#options;
    metrics.count('loam_labels_written_total', { kind });
    log.debug({ kind, name, label: value, reason }, 'put the label of its node right');
  }
}

function labelPatch({ metadata }: KubeObject, value: string | null) {
  const { resourceVersion } = metadata;
  return { type: 'merge', body: { metadata: { resourceVersion, labels: { [nodeLabel]: value } } } } as const;
}
