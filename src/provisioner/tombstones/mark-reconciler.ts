import { uidOf } from '../../claims/claim-facts.ts';
import { isOfDriver, isOnNode, type OwnSide } from '../../claims/volume-facts.ts';
import { isConflict, isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { poolUuidKey } from '../../model/volume.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import { decideMarks, type MarkDecision } from './decide-marks.ts';
import { openPools } from './open-pools.ts';

export interface MarkReconcilerOptions {
  readonly api: KubeApi;
  readonly watches: Pick<ClusterView, 'volume' | 'putVolume'>;
  readonly ledger: Pick<VolumeLedger, 'rooms'>;
  readonly own: OwnSide;
  readonly events: OutcomeEvents;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps right what this node's PVs say of it: that it is there, and which of its disks are not. */
export class MarkReconciler {
  readonly #options: MarkReconcilerOptions;
  #openPools: ReadonlySet<string> | undefined;
  #openBefore: ReadonlySet<string> | undefined;

  constructor(options: MarkReconcilerOptions) {
    this.#options = options;
  }

  /** Looks which pools are open; one that is not for the second time is missing. */
  async look(): Promise<void> {
    this.#openBefore = this.#openPools;
    this.#openPools = await openPools(this.#options.ledger);
  }

  /** Whether a PV says something else than is so, as far as is known without asking. */
  isWrong(volume: PersistentVolume): boolean {
    const { own } = this.#options;
    if (volume.spec.csi?.driver !== own.driverName || !isOfDriver(volume, own.driverName)) return false;
    return isOnNode(volume, own) && this.#decide(volume).kind === 'write';
  }

  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { api, watches, log } = this.#options;
    const volume = watches.volume(name);
    if (volume === undefined || !this.isWrong(volume)) return { kind: 'done' };
    const decision = this.#decide(volume);
    if (decision.kind !== 'write') return { kind: 'done' };
    const { resourceVersion } = volume.metadata;
    const body = { metadata: { resourceVersion, annotations: decision.annotations } };
    try {
      watches.putVolume(await api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal));
    } catch (error) {
      if (isNotFound(error)) return { kind: 'done' };
      // somebody wrote first, and the watch brings what
      if (isConflict(error)) return { kind: 'retry' };
      throw error;
    }
    log.warn(
      { persistentVolume: name, reason: decision.reason },
      "what a PV says of this node's disks was put right",
    );
    if (decision.isNewlyMissing) await this.#tell(volume, signal);
    return { kind: 'done' };
  }

  #decide(volume: PersistentVolume): MarkDecision {
    const nowMs = this.#options.clock.nowMs();
    return decideMarks(volume, { openPools: this.#openPools, openBefore: this.#openBefore, nowMs });
  }

  async #tell(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { api, events, own } = this.#options;
    const pool = volume.spec.csi?.volumeAttributes?.[poolUuidKey] ?? '';
    const text = `node ${own.nodeName} has no pool ${pool}: its disk is not mounted, not configured any more, or another one is in its place; bring it back, and all is as it was`;
    events.warning('PersistentVolume', volume, 'PoolMissing', text);
    const { namespace = '', name = '', uid } = volume.spec.claimRef ?? {};
    if (uid === undefined || uid === '') return;
    const claim = await lookUp(api, 'PersistentVolumeClaim', { namespace, name }, signal);
    if (claim !== undefined && uidOf(claim) === uid)
      events.warning('PersistentVolumeClaim', claim, 'PoolMissing', text);
  }
}
