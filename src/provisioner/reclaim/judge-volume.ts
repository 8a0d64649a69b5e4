import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { ClusterView } from '../watches.ts';
import type { HeldVolume } from '../../model/volume-ledger.ts';
import { decideForeign } from './decide-foreign.ts';
import { decideClaimFate, decideReclaim, type ClaimFate, type ReclaimDecision } from './decide-reclaim.ts';
import type { SharedHandles } from './shared-handles.ts';

/** A decision that is about a released volume and the claim that it was. */
type Released = Extract<ReclaimDecision, { kind: 'reclaim' | 'recycle' | 'retain' }>;

export interface VolumeJudgeOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly own: OwnSide;
  readonly sharedHandles: SharedHandles;
  /** whether a volume may hold data; VolumeLedger's, or always true */
  readonly wasUsed: (volumeId: string) => boolean;
  /** what the disks have of this id; VolumeLedger's, or nothing */
  readonly heldOf: (volumeId: string) => readonly HeldVolume[];
  /** unset where it could not be read */
  readonly clusterUid: string | undefined;
  readonly clock: Clock;
}

/** What is to become of a PV, and what became of its claim: the pure decisions, with as much looking as each deserves. */
export class VolumeJudge {
  readonly #options: VolumeJudgeOptions;

  constructor(options: VolumeJudgeOptions) {
    this.#options = options;
  }

  /** By what the store knows. */
  decide(volume: PersistentVolume): ReclaimDecision {
    const { watches } = this.#options;
    const handle = volume.spec.csi?.volumeHandle;
    return this.#decide(volume, handle === undefined ? [] : watches.volumesOfHandle(handle));
  }

  /** After a look at whatever else may stand for the data. */
  async decideSharing(volume: PersistentVolume, signal: AbortSignal): Promise<ReclaimDecision> {
    const { watches, sharedHandles } = this.#options;
    const decision = this.decide(volume);
    const isEnd = decision.kind === 'reclaim' || decision.kind === 'recycle';
    if (!isEnd || !watches.isScoped) return decision;
    return this.#decide(volume, await sharedHandles.volumesOfHandle(decision.volumeId, signal));
  }

  /**
   * With the PV as it was just read. An undelete of one that is being deleted leaves it as it is and makes another PV over the data: such
   * a one is looked for in the API itself, where the watch may be late.
   */
  async decideLast(now: PersistentVolume, signal: AbortSignal): Promise<ReclaimDecision> {
    const { sharedHandles } = this.#options;
    const decision = this.decide(now);
    if (decision.kind !== 'reclaim' || now.metadata.deletionTimestamp === undefined) return decision;
    return this.#decide(now, await sharedHandles.liveVolumesOfHandle(decision.volumeId, signal));
  }

  /**
   * What the store says of a claim that is not gone; undefined: nothing, and it has to be looked up. A scoped store holds only claims
   * with this node's label: there the API server is asked.
   */
  async knownFate(
    volume: PersistentVolume,
    decision: Released,
    signal: AbortSignal,
  ): Promise<ClaimFate | undefined> {
    const { watches, api } = this.#options;
    const inStore = watches.claim(decision.claim);
    const claim =
      inStore === undefined && watches.isScoped
        ? await lookUp(api, 'PersistentVolumeClaim', decision.claim, signal)
        : inStore;
    if (claim === undefined) return undefined;
    const fate = this.#fateOf(claim, decision, volume);
    return fate.kind === 'gone' ? undefined : fate;
  }

  /** By the API server's word. @throws what the look threw: then nothing is known */
  async liveFate(volume: PersistentVolume, decision: Released, signal: AbortSignal): Promise<ClaimFate> {
    const live = await lookUp(this.#options.api, 'PersistentVolumeClaim', decision.claim, signal);
    return this.#fateOf(live, decision, volume);
  }

  #decide(volume: PersistentVolume, sameData: readonly PersistentVolume[]): ReclaimDecision {
    const { own, clock, heldOf, clusterUid } = this.#options;
    const decision = decideReclaim(volume, own, sameData, clock.nowMs());
    if (!('volumeId' in decision)) return decision;
    return decideForeign(volume, heldOf(decision.volumeId), clusterUid) ?? decision;
  }

  #fateOf(claim: PersistentVolumeClaim | undefined, decision: Released, volume: PersistentVolume): ClaimFate {
    const wasUsed = this.#options.wasUsed(decision.volumeId);
    return decideClaimFate(claim, decision.claim, volume.metadata.name, wasUsed);
  }
}
