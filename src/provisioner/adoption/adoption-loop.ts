import { isConflict } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { KubeAccessMode } from '../../model/access-mode.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import { every } from '../../model/every.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { HeldVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import * as annotations from '../../claims/annotations.ts';
import { claimKey } from '../../claims/claim-facts.ts';
import { isOnNode, namesClaim, type OwnSide } from '../../claims/volume-facts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import { decideOrphan, type OrphanSide } from '../orphans/decide-orphan.ts';
import type { Orphans } from '../orphans/orphans.ts';
import type { Watches } from '../watches.ts';
import { adoptsByName } from './adopting-class.ts';
import { buildAdoptedVolume } from './build-adopted-volume.ts';
import type { ClaimGate } from './claim-gate.ts';
import { decideFit, type FitDecision } from './decide-fit.ts';
import { decideOffer, type OfferDecision } from './decide-offer.ts';
import { offerVolume } from './offer-volume.ts';

/** What no news has told of is found out this late. */
const roundMs = 60_000;
/** Many claims that come at once are looked at in one go. */
const gatherMs = 20;
/** Every round looks at all that is held: however fast the news come, most of the time is others'. */
const restPerWork = 9;
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

export interface AdoptionLoopOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly ledger: VolumeLedger;
  readonly orphans: Pick<Orphans, 'look' | 'alone'>;
  readonly gate: ClaimGate;
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
 * one notes it in the record. Each round reads everything anew, so that nothing has to be remembered.
 */
export class AdoptionLoop {
  readonly #options: AdoptionLoopOptions;
  #running: Promise<void> | undefined;
  #isAgain = false;
  #isAwake = false;
  #signal: AbortSignal | undefined;
  #lastRoundMs = 0;

  constructor(options: AdoptionLoopOptions) {
    this.#options = options;
    const { watches, own } = options;
    watches.onClaim(({ previous, current }) => {
      const claim = current ?? previous;
      if (claim !== undefined && adoptsByName(watches.classOf(claim), own.driverName)) this.#wake();
    });
    watches.onVolume(({ previous, current }) => {
      // one that went may have left an orphan, and one that came may be an offer
      const isNews = previous === undefined || current === undefined;
      const volume = current ?? previous;
      if (!isNews || volume?.spec.csi?.driver !== own.driverName || !isOnNode(volume, own)) return;
      if (this.#isAnyClass() || volume.metadata.annotations?.[annotations.adopted] !== undefined)
        this.#wake();
    });
    watches.onClass(({ current }) => {
      if (adoptsByName(current, own.driverName)) this.#wake();
    });
  }

  /** @returns how to stop listening; what is under way ends with the signal */
  start(signal: AbortSignal): () => void {
    this.#signal = signal;
    const stopSpace = this.#options.ledger.onSpaceChanged(() => {
      if (this.#isAnyClass()) this.#wake();
    });
    const stopRounds = every(this.#options.clock, roundMs, () => this.#wake());
    this.#look(signal);
    return () => {
      stopSpace();
      stopRounds();
    };
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  #wake(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted || this.#isAwake) return;
    this.#isAwake = true;
    this.#options.clock.after(Math.max(gatherMs, restPerWork * this.#lastRoundMs), () => {
      this.#isAwake = false;
      this.#look(signal);
    });
  }

  #look(signal: AbortSignal): void {
    if (signal.aborted) return;
    if (this.#running !== undefined) {
      this.#isAgain = true;
      return;
    }
    this.#running = this.#rounds(signal).finally(() => {
      this.#running = undefined;
    });
  }

  async #rounds(signal: AbortSignal): Promise<void> {
    do {
      this.#isAgain = false;
      try {
        await this.#round(signal);
        this.#options.gate.open();
        this.#options.gate.tidy();
      } catch (error) {
        if (!signal.aborted)
          this.#options.log.warn(
            { err: messageOf(error) },
            'volumes could not be offered by name; trying again later',
          );
      }
    } while (this.#isAgain && !signal.aborted);
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { ledger, watches, clock } = this.#options;
    const startMs = clock.nowMs();
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
    await this.#checkFits(signal);
    this.#lastRoundMs = clock.nowMs() - startMs;
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

  #isAnyClass(): boolean {
    const { watches, own } = this.#options;
    return [...watches.classes()].some((each) => adoptsByName(each, own.driverName));
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

  /** Where a claim waits for a PV of ours that can never be bound to it, it is told why. */
  async #checkFits(signal: AbortSignal): Promise<void> {
    const { watches, own, events } = this.#options;
    if (!this.#isAnyClass()) return;
    for (const volume of watches.volumes()) {
      if (volume.metadata.annotations?.[annotations.adopted] !== 'by-name') continue;
      if (volume.spec.csi?.driver !== own.driverName || !isOnNode(volume, own)) continue;
      const { namespace = '', name = '', uid = '' } = volume.spec.claimRef ?? {};
      if (uid !== '' || name === '') continue;
      const claim = watches.claim({ namespace, name });
      if (claim === undefined || !namesClaim(volume, claim) || (claim.spec.volumeName ?? '') !== '') continue;
      const fit = fitOf(volume, claim);
      if (fit.kind === 'misfit') events.warning('PersistentVolumeClaim', claim, 'AdoptionMisfit', fit.reason);
      if (fit.kind === 'modes') await this.#changeModes(volume, claim, fit.accessModes, signal);
    }
  }

  async #changeModes(
    volume: PersistentVolume,
    claim: PersistentVolumeClaim,
    accessModes: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const { watches, events, api, log } = this.#options;
    const { name, resourceVersion } = volume.metadata;
    const body = { metadata: { resourceVersion }, spec: { accessModes } };
    try {
      watches.putVolume(await api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal));
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ persistentVolume: name, err: messageOf(error) }, "a PV's access modes could not be changed");
      // a PV is offered anew with the modes of the claim that waits
      const text = `PersistentVolume ${name} is reserved for the claim and does not say ${accessModes.join(', ')}; delete it, and the volume is offered again with that`;
      if (!isConflict(error)) events.warning('PersistentVolumeClaim', claim, 'AdoptionMisfit', text);
    }
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

/** One claim that asks for what nobody can count must not keep the others from being looked at. */
function fitOf(volume: PersistentVolume, claim: PersistentVolumeClaim): FitDecision {
  try {
    return decideFit(volume, claim);
  } catch (error) {
    return { kind: 'misfit', reason: `claim or PersistentVolume has no size: ${messageOf(error)}` };
  }
}
