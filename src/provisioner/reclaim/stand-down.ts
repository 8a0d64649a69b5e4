import type { EventReason } from '../../claims/event-reasons.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Log } from '../../model/log.ts';
import type { HeldVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import { poolUuidKey, type ClaimRef } from '../../model/volume.ts';
import { reclaiming } from '../../claims/annotations.ts';
import { claimKey, uidOf } from '../../claims/claim-facts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import { isMarked } from './decide-reclaim.ts';
import type { ClusterView } from '../watches.ts';
import type { VolumeDestruction } from './destroy-volume.ts';
import { readEnd } from '../../claims/read-end.ts';
import type { VolumeRecycling } from './recycle-volume.ts';
import type { VolumeWrites } from './volume-writes.ts';

/** The PV as it was read last is in the store already. */
const changedMs = 20;

/** How far an end had come on the disk. */
type Remains = 'untouched' | 'taken' | 'emptying' | 'emptied' | 'unknown';

export interface StandDownOptions {
  readonly api: KubeApi;
  readonly watches: Pick<ClusterView, 'putVolume'>;
  readonly ledger?: Pick<VolumeLedger, 'heldOf' | 'rooms' | 'poolTroubles'> | undefined;
  readonly writes: VolumeWrites;
  readonly destruction: VolumeDestruction;
  readonly recycling: VolumeRecycling;
  readonly events: OutcomeEvents;
  readonly log: Log;
}

/**
 * A marked PV that is not to be reclaimed any more: somebody changed its policy, cleared its claimRef or gave it to another claim after
 * the mark. How it goes on depends on how far the end has come on the disk, since what is destroyed cannot be taken back:
 *
 * - untouched: the mark goes, and everything is as before it.
 * - taken away (the data is in the trash, or gone): the PV stands for nothing. The end is finished, the PV with it. One that is free is
 *   not bound any more once it is being deleted; whoever was bound meanwhile could not stage it, and is told by an Event on the claim.
 * - being emptied: that is finished, because nobody can stage the volume until then. Who has it by then is told that it begins empty.
 *   This is also done where somebody took the mark off by hand: nothing else would ever come back to such a volume.
 *
 * Nobody loses what he wrote: before the data is touched its new owner would have been seen, afterwards he cannot stage it.
 */
export class StandDown {
  readonly #options: StandDownOptions;

  constructor(options: StandDownOptions) {
    this.#options = options;
  }

  async standDown(volume: PersistentVolume, signal: AbortSignal): Promise<Outcome> {
    const mark = volume.metadata.annotations?.[reclaiming];
    if (mark === undefined) return this.#finishUnmarked(volume, signal);
    const { destruction, recycling, writes, log } = this.#options;
    const { name, deletionTimestamp } = volume.metadata;
    const ref = volume.spec.claimRef;
    // of the claim that it was marked for only the uid is known, unless it is named still
    const claim: ClaimRef =
      ref?.uid === mark
        ? { namespace: ref.namespace ?? '', name: ref.name ?? '', uid: mark }
        : { namespace: '', name: '', uid: mark };
    const remains = await this.#remainsOf(volume);
    log.info({ persistentVolume: name, claimUid: mark, remains }, 'a PV is not to be reclaimed any more');
    switch (remains) {
      case 'unknown':
        // its pool is not there; the mark stands until it is
        return { kind: 'retry' };
      case 'taken':
        await this.#tell(
          volume,
          'VolumeLost',
          'was being deleted when its claimRef or its policy was changed: its data is not there any more, and the PersistentVolume goes too; delete the claim that has it and make it anew',
          signal,
        );
        return destruction.destroy(volume, claim, signal);
      case 'emptying': {
        const refused = await recycling.empty(volume, claim, signal, { onlyBegun: true });
        if (refused !== undefined) return refused;
        break;
      }
      case 'untouched':
      case 'emptied':
        break;
    }
    if (remains === 'emptying' || remains === 'emptied') await this.#tellEmptied(volume, signal);
    if (deletionTimestamp === undefined) await writes.unmark(volume, signal);
    return { kind: 'done' };
  }

  /** Only what was begun: without the mark nothing is destroyed anew. */
  async #finishUnmarked(known: PersistentVolume, signal: AbortSignal): Promise<Outcome> {
    const { api, recycling, watches, log } = this.#options;
    if (!this.#heldBy(known).some(({ isRecycling }) => isRecycling)) return { kind: 'done' };
    const { name } = known.metadata;
    const volume = await api.get('PersistentVolume', { name }, signal);
    watches.putVolume(volume);
    // what was known is old: it is judged anew as it is now
    if (isMarked(volume) || uidOf(volume) !== uidOf(known)) return { kind: 'retry', afterMs: changedMs };
    const { namespace = '', name: claimName = '', uid = '' } = volume.spec.claimRef ?? {};
    const claim: ClaimRef = { namespace, name: claimName, uid };
    log.warn(
      { persistentVolume: name, claim: claimKey(claim) },
      'a volume is being emptied and its PV says so no more; the emptying is finished',
    );
    const refused = await recycling.empty(volume, claim, signal, { onlyBegun: true });
    if (refused !== undefined) return refused;
    await this.#tellEmptied(volume, signal);
    return { kind: 'done' };
  }

  #tellEmptied(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const what = 'was being recycled when its claimRef was changed: it begins empty';
    return this.#tell(volume, 'VolumeEmptied', what, signal);
  }

  /** What is held that the PV can mean. */
  #heldBy({ spec: { csi } }: PersistentVolume): readonly HeldVolume[] {
    const { ledger } = this.#options;
    if (ledger === undefined || csi === undefined) return [];
    const poolUuid = csi.volumeAttributes?.[poolUuidKey];
    return ledger
      .heldOf(csi.volumeHandle)
      .filter((held) => poolUuid === undefined || held.poolUuid === poolUuid);
  }

  async #remainsOf(volume: PersistentVolume): Promise<Remains> {
    const { ledger } = this.#options;
    const csi = volume.spec.csi;
    if (ledger === undefined || csi === undefined) return 'untouched';
    const poolUuid = csi.volumeAttributes?.[poolUuidKey];
    // the pools first: one that opens in between has its volumes held by then
    const isOpen =
      poolUuid === undefined
        ? ledger.poolTroubles().length === 0
        : (await ledger.rooms()).some(({ uuid }) => uuid === poolUuid);
    const [held] = this.#heldBy(volume);
    if (held === undefined) return isOpen ? 'taken' : 'unknown';
    if (held.isRecycling) return 'emptying';
    const end = readEnd(volume);
    return end.kind === 'recycle' && !held.used ? 'emptied' : 'untouched';
  }

  /** Tells whoever the PV is meant for by now; where that is nobody, those who look at the PV. */
  async #tell(
    volume: PersistentVolume,
    reason: EventReason,
    what: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { api, events } = this.#options;
    const text = `PersistentVolume ${volume.metadata.name} ${what}`;
    const { namespace = '', name = '', uid = '' } = volume.spec.claimRef ?? {};
    const key = { namespace, name };
    const claim = name === '' ? undefined : await lookUp(api, 'PersistentVolumeClaim', key, signal);
    // one of that name that waits for a volume of its own is not concerned
    const isMeant =
      claim !== undefined &&
      (uid === '' || uid === uidOf(claim)) &&
      ['', undefined, volume.metadata.name].includes(claim.spec.volumeName);
    if (isMeant) events.warning('PersistentVolumeClaim', claim, reason, text);
    else events.warning('PersistentVolume', volume, reason, text);
    this.#options.log.warn({ claim: claimKey(key), persistentVolume: volume.metadata.name }, text);
  }
}
