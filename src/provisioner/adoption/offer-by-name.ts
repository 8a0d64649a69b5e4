import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { KubeAccessMode } from '../../model/access-mode.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { HeldVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import { claimKey } from '../../claims/claim-facts.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import { decideOrphan, type OrphanSide } from '../orphans/decide-orphan.ts';
import type { Orphans } from '../orphans/orphans.ts';
import type { Watches } from '../watches.ts';
import { buildAdoptedVolume } from './build-adopted-volume.ts';
import { decideOffer, type OfferDecision } from './decide-offer.ts';
import { offerVolume } from './offer-volume.ts';

const callMs = 30_000;

/** So many are looked at in one go: ten thousand hold up nobody. */
const lookedAtOnce = 100;
/** So many are offered at once: those who ask the API server for all PVs at the same time share its answer. */
const offeredAtOnce = 100;

type Named = Parameters<VolumeLedger['heldFor']>[0];
/** Orphans of a claim's name, judged once a round, however many there are. */
type Namesakes = (claim: Named) => readonly HeldVolume[];

interface Offer {
  readonly held: HeldVolume;
  readonly claim: PersistentVolumeClaim | undefined;
}

export interface OfferingOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly ledger: VolumeLedger;
  readonly orphans: Pick<Orphans, 'look' | 'alone'>;
  readonly events: OutcomeEvents;
  readonly own: OwnSide;
  readonly clusterUid: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Offers this node's volumes that lost their PV to the claims of the names that they were made for, where their class says adopt: by-name.
 *
 * The PV is written first and the record after: a process that dies between the two leaves a PV that stands for its volume, and the next
 * one notes it in the record.
 */
export class OfferingByName {
  readonly #options: OfferingOptions;

  constructor(options: OfferingOptions) {
    this.#options = options;
  }

  /** Looks at all that is held, everything read anew. */
  async offerAll(signal: AbortSignal): Promise<void> {
    const { ledger, watches, clock } = this.#options;
    const all = ledger.held();
    const judged = new Map<string, readonly HeldVolume[]>();
    const namesakes: Namesakes = (claim) => {
      const known = judged.get(claimKey(claim)) ?? this.#orphansFor(claim);
      judged.set(claimKey(claim), known);
      return known;
    };
    const offers: Offer[] = [];
    for (const [index, held] of all.entries()) {
      if (index % lookedAtOnce === lookedAtOnce - 1) await clock.sleep(0, signal);
      const volumes = watches.volumesOfHandle(held.volumeId);
      const isToTake = volumes.length > 0 && held.clusterUid !== this.#options.clusterUid;
      if (held.adopt !== 'by-name' && !isToTake) continue;
      const offer = await this.#attempt(held, undefined, signal, () => this.#judge(held, namesakes, signal));
      if (offer !== undefined) offers.push(offer);
    }
    for (let at = 0; at < offers.length; at += offeredAtOnce) {
      const group = offers.slice(at, at + offeredAtOnce);
      await Promise.all(
        group.map((offer) =>
          this.#attempt(offer.held, offer.claim, signal, () => this.#offerAlone(offer, signal)),
        ),
      );
    }
  }

  /** One volume that makes trouble must not keep the others from being offered. */
  async #attempt<T>(
    held: HeldVolume,
    claim: PersistentVolumeClaim | undefined,
    signal: AbortSignal,
    act: () => Promise<T>,
  ): Promise<T | undefined> {
    const { log, metrics, events } = this.#options;
    try {
      return await act();
    } catch (error) {
      signal.throwIfAborted();
      metrics.count('loam_adoptions_total', { outcome: 'failed' });
      log.warn({ volumeId: held.volumeId, err: messageOf(error) }, 'a volume could not be offered by name');
      if (claim !== undefined)
        events.warning('PersistentVolumeClaim', claim, 'AdoptionFailed', messageOf(error));
      return undefined;
    }
  }

  /** Volumes that nobody stands for and that were made for a claim of this name, as far as the watch knows, in the order of their ids. */
  #orphansFor(claim: Named): readonly HeldVolume[] {
    const { ledger, watches } = this.#options;
    return ledger
      .heldFor(claim)
      .filter((each) => each.adopt === 'by-name')
      .filter((each) => {
        const volumes = watches.volumesOfHandle(each.volumeId);
        return decideOrphan(each, volumes, this.#side()).kind === 'orphan';
      })
      .toSorted((left, right) => (left.volumeId < right.volumeId ? -1 : 1));
  }

  #side(): OrphanSide {
    const { own, clusterUid, clock } = this.#options;
    return { driverName: own.driverName, clusterUid, nowMs: clock.nowMs() };
  }

  #decide(
    held: HeldVolume,
    ofName: readonly HeldVolume[],
    sameHandle: readonly PersistentVolume[],
    claim: PersistentVolumeClaim | undefined,
  ): OfferDecision {
    const { watches } = this.#options;
    return decideOffer(held, {
      ...this.#side(),
      storageClass: watches.classNamed(held.className ?? ''),
      claim,
      sameHandle,
      claimVolumes: held.claim === undefined ? [] : watches.volumesNaming(held.claim),
      twins: ofName.filter((other) => other.volumeId !== held.volumeId || other.poolUuid !== held.poolUuid),
    });
  }

  /** By the watch: only what would be offered is asked of the API server. */
  async #judge(held: HeldVolume, namesakes: Namesakes, signal: AbortSignal): Promise<Offer | undefined> {
    const { events, watches, log } = this.#options;
    const claim = await this.#claimOf(held, signal);
    const ofName = held.claim === undefined ? [] : namesakes(held.claim);
    const decision = this.#decide(held, ofName, watches.volumesOfHandle(held.volumeId), claim);
    log.debug({ volumeId: held.volumeId, decision: decision.kind }, decision.reason);
    if (decision.kind === 'ambiguous' && claim !== undefined)
      events.warning('PersistentVolumeClaim', claim, 'AdoptionAmbiguous', decision.reason);
    if (decision.kind === 'take') await this.#take(held, decision.volume, signal);
    return decision.kind === 'offer' ? { held, claim } : undefined;
  }

  async #offerAlone({ held, claim }: Offer, signal: AbortSignal): Promise<void> {
    const { orphans } = this.#options;
    await orphans.alone(held.volumeId, async () => {
      // asked of the API server now: the watch may be behind, or see only this node's
      const { decision: whose } = await orphans.look(held.volumeId, signal);
      if (whose.kind !== 'orphan') return;
      const ofName = held.claim === undefined ? [] : this.#orphansFor(held.claim);
      const still = this.#decide(held, ofName, [], claim);
      if (still.kind === 'offer') await this.#offer(held, still, claim, signal);
    });
  }

  async #offer(
    held: HeldVolume,
    { storageClass, claim: ref, reason }: Extract<OfferDecision, { kind: 'offer' }>,
    claim: PersistentVolumeClaim | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { api, own, watches, log, metrics, events } = this.#options;
    const [only, ...more] = claim?.spec.accessModes ?? [];
    const accessModes: readonly KubeAccessMode[] | undefined =
      only === 'ReadWriteOncePod' && more.length === 0 ? [only] : undefined;
    const wanted = buildAdoptedVolume({
      volume: held,
      how: 'by-name',
      driverName: own.driverName,
      topologyValue: own.topologyValue,
      storageClass,
      claim: ref,
      ...(accessModes === undefined ? {} : { accessModes }),
    });
    const saved = await offerVolume(api, wanted, signal);
    watches.putVolume(saved);
    await this.#take(held, saved, signal);
    const { name } = saved.metadata;
    const facts = { volumeId: held.volumeId, claim: claimKey(ref), persistentVolume: name };
    log.info(facts, `volume offered to the claim of its name: ${reason}`);
    metrics.count('loam_adoptions_total', { outcome: 'offered' });
    const text = `volume ${held.volumeId} (pool ${held.poolName}), made for this claim's name before, is offered to it as PersistentVolume ${name}`;
    if (claim !== undefined) events.normal('PersistentVolumeClaim', claim, 'VolumeAdopted', text);
  }

  /** The PV stands: from now on the record is this cluster's, too. */
  async #take(held: HeldVolume, volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { ledger, clusterUid, clock, log } = this.#options;
    const className = volume.spec.storageClassName ?? '';
    const call = {
      signal: AbortSignal.any([signal, AbortSignal.timeout(callMs)]),
      deadlineMs: clock.nowMs() + callMs,
    };
    const owner = {
      ...(clusterUid === undefined ? {} : { clusterUid }),
      ...(className === '' ? {} : { className }),
    };
    await ledger.adopt(held.volumeId, owner, call);
    log.debug({ volumeId: held.volumeId, persistentVolume: volume.metadata.name }, 'record taken over');
  }

  /** Of a scoped watch only the claims with this node's label are known. */
  async #claimOf(held: HeldVolume, signal: AbortSignal): Promise<PersistentVolumeClaim | undefined> {
    const { watches, api } = this.#options;
    if (held.claim === undefined) return undefined;
    const { namespace, name } = held.claim;
    const known = watches.claim({ namespace, name });
    if (known !== undefined || !watches.isScoped || held.adopt !== 'by-name') return known;
    if (watches.volumesOfHandle(held.volumeId).length > 0) return undefined;
    return lookUp(api, 'PersistentVolumeClaim', { namespace, name }, signal);
  }
}
