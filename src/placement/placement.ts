import { claimKey, selectedNodeOf, uidOf, volumeNameFor } from '../claims/claim-facts.ts';
import type { SourceRef } from '../claims/data-source.ts';
import { EventRecorder } from '../kube/event-recorder.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { Change } from '../kube/store.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import { every } from '../model/every.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { maxInt64 } from '../model/quantity.ts';
import { sizeOf } from './claim-size.ts';
import { LabelKeeper } from './keep-labels.ts';
import { PlacementReconciler } from './placement-reconciler.ts';
import { PlacementReports } from './placement-reports.ts';
import { roomOf } from './room.ts';
import { Survey } from './survey.ts';
import { sweepSources } from './sweep-sources.ts';
import { tellLostSources } from './tell-lost-sources.ts';
import { isOpen, Watches } from './watches.ts';
import { RoomWithdrawal } from './withdraw-room.ts';

const workers = 16;
const backoff = { baseMs: 200, maxMs: 60_000 };
const resyncMs = 15 * 60_000;
const flushMs = 2_000;
/** As external-provisioner's sweep of snapshots. */
const sweepMs = 5 * 60_000;
/** News of nodes come in crowds; the claims that wait for room are looked at once for each. */
const newsMs = 250;

export interface PlacementSettings {
  readonly driverName: string;
  /** where the nodes publish their capacity */
  readonly namespace: string;
  readonly unreachableAfterMs: number;
  /** of this process, for the events that it writes */
  readonly identity: string;
  /** keep the label on claims and PVs that nodes watch by */
  readonly scoped?: boolean;
}

export interface PlacementOptions {
  readonly api: KubeApi;
  readonly settings: PlacementSettings;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Chooses the node of claims that bind at once, and takes claims back from nodes that will not serve them. It writes the claim's
 * selected-node annotation and the label of that node, and on the capacity objects of nodes that are away that there is no room; all
 * of it with the object's version as precondition: two of it, by mistake, would do no harm.
 */
export class Placement {
  readonly #options: PlacementOptions;
  readonly #watches: Watches;
  readonly #survey: Survey;
  readonly #recorder: EventRecorder;
  readonly #reconciler: PlacementReconciler;
  readonly #queue: WorkQueue;
  /** unset: the nodes see everything */
  readonly #labels: LabelKeeper | undefined;
  readonly #withdrawal: RoomWithdrawal;
  readonly #undo: (() => void)[] = [];
  /** classes whose stranded claims are about to be looked at again: those that ask for at most so many bytes */
  #toWake: Map<string, bigint> | 'all classes' | undefined;
  #cancelWake = (): void => {};
  #isRunning = false;
  #sweep: Promise<void> | undefined;

  constructor(options: PlacementOptions) {
    this.#options = options;
    const { settings, clock, log, metrics } = options;
    const { driverName, identity, scoped = false } = settings;
    this.#watches = new Watches({ ...options, ...settings, keepsLabels: scoped });
    this.#labels = scoped ? new LabelKeeper({ ...options, driverName, watches: this.#watches }) : undefined;
    this.#survey = new Survey({ watches: this.#watches, driverName, clock });
    this.#withdrawal = new RoomWithdrawal({
      ...options,
      ...settings,
      watches: this.#watches,
      survey: this.#survey,
    });
    this.#recorder = new EventRecorder({ ...options, component: driverName, host: identity });
    const reports = new PlacementReports({ ...options, events: this.#recorder });
    this.#reconciler = new PlacementReconciler({
      ...options,
      ...settings,
      watches: this.#watches,
      survey: this.#survey,
      reports,
    });
    this.#queue = new WorkQueue({
      name: 'placement',
      reconcile: (uid, signal) => this.#reconciler.reconcile(uid, signal),
      workers,
      backoff,
      clock,
      log,
      metrics,
    });
  }

  /** Works until the signal aborts, and resolves when nothing is under way any more. */
  async run(signal: AbortSignal): Promise<void> {
    this.#listen();
    this.#labels?.listen();
    this.#withdrawal.listen();
    try {
      await this.#watches.start(signal);
      this.#isRunning = true;
      // what an earlier leader gave out is on its way too
      for (const claim of this.#watches.openClaims()) this.#promise(claim);
      this.#queue.start(signal);
      this.#labels?.start(signal);
      this.#withdrawal.start(signal);
      this.#undo.push(
        every(this.#options.clock, resyncMs, () => {
          for (const claim of this.#watches.openClaims()) this.#queue.add(uidOf(claim));
          this.#labels?.lookAtAll();
          this.#withdrawal.lookAtAll();
        }),
      );
      this.#undo.push(every(this.#options.clock, sweepMs, () => this.#sweepNow(signal)));
      this.#options.log.info({ driver: this.#options.settings.driverName }, 'placement runs');
      await Promise.all([this.#queue.idle(), this.#labels?.idle(), this.#withdrawal.idle()]);
      await this.#sweep;
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#isRunning = false;
      // whoever leads next counts them
      this.#options.metrics.gauge('loam_claims_without_room', {}, 0);
      for (const undo of this.#undo.splice(0)) undo();
      this.#cancelWake();
      const late = new AbortController();
      const cancel = this.#options.clock.after(flushMs, () => late.abort());
      await this.#recorder.flush(late.signal).finally(cancel);
    }
  }

  /** What copies have left behind: one look at a time. */
  #sweepNow(signal: AbortSignal): void {
    if (this.#sweep !== undefined || signal.aborted) return;
    const { settings } = this.#options;
    const options = { ...this.#options, ...settings, watches: this.#watches, survey: this.#survey };
    const telling = { ...options, events: this.#recorder };
    this.#sweep = sweepSources(options, signal)
      .then(() => tellLostSources(telling, signal))
      .finally(() => (this.#sweep = undefined));
  }

  /** Whether it works on news and not on memories. */
  isFresh(): boolean {
    return this.#isRunning && this.#watches.areFresh();
  }

  /** Sets the gauges that are only worth computing for a scrape. */
  measure(): void {
    this.#queue.measure();
    this.#labels?.measure();
    this.#withdrawal.measure();
    this.#options.metrics.gauge('loam_claims_without_room', {}, this.#reconciler.stranded().size);
  }

  /** Which news wake which work. */
  #listen(): void {
    const watches = this.#watches;
    const survey = this.#survey;
    watches.on('PersistentVolumeClaim', (change) => this.#claimChanged(change));
    watches.onSnapshot(({ previous, current }) => {
      if (current?.status?.readyToUse !== true || previous?.status?.readyToUse === true) return;
      const { namespace = '', name } = current.metadata;
      this.#sourceChanged({ kind: 'snapshot', namespace, name });
    });
    watches.on('PersistentVolume', ({ previous, current }) => {
      survey.promised.volumeSeen(current?.spec.claimRef?.uid ?? '');
      const before = previous?.spec.claimRef ?? {};
      const after = current?.spec.claimRef ?? {};
      if (claimKey(before) === claimKey(after) && before.uid === after.uid) return;
      // what kept the claim from being placed may be gone
      const claim = watches.claimNamed(claimKey(before));
      if (claim !== undefined) this.#queue.add(uidOf(claim));
    });
    watches.on('StorageClass', ({ previous, current }) => {
      const name = (current ?? previous)?.metadata.name ?? '';
      for (const claim of watches.openClaimsOfClass(name)) this.#queue.add(uidOf(claim));
    });
    watches.on('CSIStorageCapacity', ({ previous, current }) => {
      survey.capacityChanged(previous, current);
      const name = (current ?? previous)?.storageClassName;
      // for who asks for more than there is now nothing has changed but a number
      const isOneMore = previous === undefined || current === undefined;
      if (name !== undefined) this.#wake(name, isOneMore ? maxInt64 : roomOf(current).largestBytes);
    });
    watches.on('Node', ({ previous, current }) => {
      const name = (current ?? previous)?.metadata.name ?? '';
      if (previous?.metadata.uid !== current?.metadata.uid) survey.nodeReplaced(name);
      // most changes are addresses, images and heartbeats
      const seen = [previous, current].map((node) => JSON.stringify([node?.spec, node?.status]));
      if (seen[0] !== seen[1] || previous?.metadata.uid !== current?.metadata.uid) this.#nodeChanged(name);
    });
    watches.on('CSINode', ({ previous, current }) => {
      const hadDriver = (previous?.spec.drivers.length ?? 0) > 0;
      const hasDriver = (current?.spec.drivers.length ?? 0) > 0;
      if (hadDriver !== hasDriver) this.#nodeChanged((current ?? previous)?.metadata.name ?? '');
    });
  }

  #claimChanged({ previous, current }: Change<PersistentVolumeClaim>): void {
    if (previous !== undefined && (current === undefined || uidOf(previous) !== uidOf(current))) {
      // gone, or made anew under the same name
      this.#queue.add(uidOf(previous));
    } else if (previous !== undefined && current !== undefined) {
      const nodeName = selectedNodeOf(previous);
      if (nodeName !== undefined && selectedNodeOf(current) === undefined && isOpen(current)) {
        this.#survey.refused(current, nodeName);
      }
    }
    if (
      this.#isRunning &&
      current !== undefined &&
      (previous === undefined || selectedNodeOf(previous) !== selectedNodeOf(current))
    ) {
      if (selectedNodeOf(current) !== undefined) this.#survey.selected(uidOf(current));
      this.#promise(current);
    }
    // as good as bound, and what it is made of will be a copy's source
    if (current !== undefined && !isOpen(current) && (previous === undefined || isOpen(previous))) {
      const { namespace = '', name } = current.metadata;
      this.#sourceChanged({ kind: 'claim', namespace, name });
    }
    if (current !== undefined && isOpen(current)) this.#queue.add(uidOf(current));
    // bound: what was remembered of it is dropped
    else if (current !== undefined && previous !== undefined && isOpen(previous))
      this.#queue.add(uidOf(current));
  }

  /** Whoever selected a node, the scheduler or an earlier leader: its room is as good as gone, and it does not say so yet. */
  #promise(claim: PersistentVolumeClaim): void {
    const nodeName = selectedNodeOf(claim);
    if (nodeName === undefined || !isOpen(claim)) return;
    if (this.#watches.classOf(claim)?.provisioner !== this.#options.settings.driverName) return;
    this.#survey.promise(claim, nodeName);
    if (this.#watches.volume(volumeNameFor(uidOf(claim))) !== undefined)
      this.#survey.promised.volumeSeen(uidOf(claim));
  }

  /** Claims that are to be made of it need not wait for their next look. */
  #sourceChanged(ref: SourceRef): void {
    for (const uid of this.#reconciler.sourceChanged(ref)) this.#queue.add(uid);
  }

  #nodeChanged(name: string): void {
    this.#survey.nodesChanged();
    this.#survey.absenceOf(name);
    for (const claim of this.#watches.openClaimsOfNode(name)) this.#queue.add(uidOf(claim));
    this.#wake();
  }

  /** Has the claims that no node could have looked at again: those of one class that ask for at most so much, or all. */
  #wake(className?: string, mostBytes = maxInt64): void {
    if (this.#toWake === undefined) {
      this.#toWake = new Map();
      this.#cancelWake = this.#options.clock.after(newsMs, () => this.#wakeNow());
    }
    if (className === undefined) this.#toWake = 'all classes';
    else if (this.#toWake !== 'all classes' && mostBytes >= (this.#toWake.get(className) ?? 0n))
      this.#toWake.set(className, mostBytes);
  }

  #wakeNow(): void {
    const classes = this.#toWake;
    this.#toWake = undefined;
    for (const [uid, className] of this.#reconciler.waiting()) {
      const mostBytes = classes === 'all classes' ? maxInt64 : classes?.get(className);
      const claim = this.#watches.claimByUid(uid);
      if (mostBytes !== undefined && claim !== undefined && sizeOf(claim) <= mostBytes) this.#queue.add(uid);
    }
  }
}
