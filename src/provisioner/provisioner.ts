import { randomInt } from 'node:crypto';
import { EventRecorder } from '../kube/event-recorder.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { ControllerCapability, CsiDriver } from '../model/csi-driver.ts';
import { every } from '../model/every.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { nodeSegments } from '../model/topology.ts';
import type { VolumeLedger } from '../model/volume-ledger.ts';
import { nodeLabel } from '../claims/annotations.ts';
import { uidOf } from '../claims/claim-facts.ts';
import type { SourceRef } from '../claims/data-source.ts';
import { AdoptionLoop } from './adoption/adoption-loop.ts';
import { ClaimGate } from './adoption/claim-gate.ts';
import { DiscoveryLoop, type DiscoverySource } from './adoption/discovery-loop.ts';
import type { CapacityPublisher } from './capacity/capacity-publisher.ts';
import { startCapacity } from './capacity/start-capacity.ts';
import { ClaimReconciler } from './claim-reconciler.ts';
import type { ConditionSource } from './conditions/condition-loop.ts';
import { ReclaimLoop } from './reclaim/reclaim-loop.ts';
import { DriverCalls } from './driver-calls.ts';
import { CurrentCapabilities } from './current-capabilities.ts';
import { meetDriver, readClusterUid } from './first-contact.ts';
import { Intents } from './intents.ts';
import { OutcomeEvents } from './outcome-events.ts';
import type { ProvisionerSettings } from './provisioner-settings.ts';
import { SourceProtection } from './protect-source.ts';
import { sweepProtection } from './sweep-protection.ts';
import { SharedHandles } from './reclaim/shared-handles.ts';
import { HandAdoption } from './orphans/adopt-by-hand.ts';
import { Orphans } from './orphans/orphans.ts';
import { SlowClaims } from './slow-claims.ts';
import { sweepIntents, sweepMs } from './sweep-intents.ts';
import type { SnapshotLoop } from './snapshots/snapshot-loop.ts';
import { startSnapshots } from './snapshots/start-snapshots.ts';
import { isOfDriver, type OwnSide } from '../claims/volume-facts.ts';
import { VolumeChanges } from './volume-changes.ts';
import { isOpen, wakeOnNews } from './wake-on-news.ts';
import { Watches } from './watches.ts';

/** Upstream's: 1 s, doubling to 5 min. */
const backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };
const resyncMs = 15 * 60_000;
const flushMs = 2_000;

export interface ProvisionerOptions {
  readonly api: KubeApi;
  readonly driver: CsiDriver;
  /** unset: a driver of other people, whose records we cannot read */
  readonly ledger?: VolumeLedger;
  /** how our own driver's volumes are; unset: nobody tells on claims */
  readonly conditions?: ConditionSource;
  /** where folders are found that are to become volumes by themselves; unset: nowhere */
  readonly discovery?: DiscoverySource;
  readonly settings: ProvisionerSettings;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * external-provisioner's job for the claims and volumes of one node: claims become PVs, Released PVs are reclaimed.
 * Everything that has to survive a crash is in the API or in the driver's records; a new process goes on from there.
 */
export class Provisioner {
  readonly #options: ProvisionerOptions;
  readonly #watches: Watches;
  readonly #recorder: EventRecorder;
  readonly #stopping = new AbortController();
  readonly #undo: (() => void)[] = [];
  #queues: readonly WorkQueue[] = [];
  #capacity: CapacityPublisher | undefined;
  #snapshots: SnapshotLoop | undefined;
  #changes: VolumeChanges | undefined;
  #unowned: { readonly orphans: Orphans; readonly adoption: HandAdoption } | undefined;
  #reclaim: ReclaimLoop | undefined;
  #adoption: AdoptionLoop | undefined;
  #discovery: DiscoveryLoop | undefined;

  constructor(options: ProvisionerOptions) {
    this.#options = options;
    const { driverName, nodeName, topologyValue, scoped = false } = options.settings;
    this.#watches = new Watches({ ...options, ...(scoped ? { labelValue: topologyValue } : {}) });
    this.#recorder = new EventRecorder({ ...options, component: driverName, host: nodeName });
  }

  /**
   * Resolves when the watches have synced and the loops run. Waits for a driver or an API server that is not there yet.
   *
   * @throws the signal's reason when it aborts first
   */
  async start(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#stopping.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    this.#undo.push(() => signal.removeEventListener('abort', stop));
    if (signal.aborted) stop();
    const inner = this.#stopping.signal;
    const [info, clusterUid] = await Promise.all([
      meetDriver(this.#options, inner),
      this.#options.settings.clusterUid ?? readClusterUid(this.#options, inner),
    ]);
    inner.throwIfAborted();
    const { settings, ledger } = this.#options;
    const { driverName, nodeName, topologyValue } = settings;
    const own: OwnSide = {
      driverName: info.name,
      nodeName,
      topologyValue,
      segments: nodeSegments(topologyValue),
      ownDriver: info.name === driverName && ledger !== undefined,
    };
    if (info.name !== driverName) {
      this.#options.log.warn(
        { driver: info.name, configured: driverName },
        'the driver has another name than configured; its own counts',
      );
    }
    // another driver's volumes are none of the ledger's
    await this.#run(own, own.ownDriver ? ledger : undefined, info.capabilities, clusterUid, inner);
  }

  /** Resolves when no call is under way any more. What was begun is gone on with by the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the provisioner was stopped'));
    for (const undo of this.#undo.splice(0)) undo();
    await Promise.all([
      ...this.#queues.map((queue) => queue.idle()),
      this.#capacity?.idle(),
      this.#snapshots?.idle(),
      this.#changes?.idle(),
      this.#reclaim?.idle(),
      this.#adoption?.idle(),
      this.#discovery?.idle(),
    ]);
    const late = new AbortController();
    const cancel = this.#options.clock.after(flushMs, () => late.abort());
    await this.#recorder.flush(late.signal).finally(cancel);
  }

  /** Whether the loops run on news and not on memories (readyz). */
  isFresh(): boolean {
    return this.#queues.length > 0 && !this.#stopping.signal.aborted && this.#watches.areFresh();
  }

  /** What operators ask of the volumes that nobody stands for; undefined until the watches have synced, and for a driver of other people. */
  get unowned(): { readonly orphans: Orphans; readonly adoption: HandAdoption } | undefined {
    return this.#unowned;
  }

  /** Sets the gauges that are only worth computing for a scrape. */
  measure(): void {
    for (const queue of this.#queues) queue.measure();
    this.#snapshots?.measure();
    this.#changes?.measure();
    this.#reclaim?.measure();
    this.#watches.measure(this.#options.metrics);
  }

  async #run(
    own: OwnSide,
    ledger: VolumeLedger | undefined,
    first: ReadonlySet<ControllerCapability>,
    clusterUid: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { driver, settings, clock, log, metrics } = this.#options;
    const watches = this.#watches;
    const current = new CurrentCapabilities({ ...this.#options, first, onChange: () => resync() });
    const capabilities = current.known;
    const events = new OutcomeEvents(this.#recorder);
    // our own driver tells by itself
    const told = ledger === undefined ? { onSpaceUsed: () => this.#capacity?.refresh() } : {};
    const { timeoutMs } = settings;
    const calls = new DriverCalls({ driver, driverName: own.driverName, timeoutMs, clock, metrics, ...told });
    const intents = new Intents({ ledger, clusterUid, clock });
    const identity = `${clock.nowMs()}-${randomInt(10_000)}-${own.driverName}-${own.nodeName}`;
    const sharedHandles = new SharedHandles({ api: this.#options.api, watches });
    const shared = { ...this.#options, ...settings, watches, events, calls, own, sharedHandles };
    const protection = new SourceProtection(shared, signal);
    const gate = ledger && new ClaimGate({ ...shared, ledger, clusterUid, driverName: own.driverName });
    const claimLoop = new ClaimReconciler({
      ...shared,
      ledger,
      gate,
      intents,
      protection,
      slow: new SlowClaims(clock),
      capabilities,
      clusterUid,
      identity,
    });
    const reclaim = new ReclaimLoop({ ...shared, ledger, clusterUid });
    const queue = { workers: settings.workers, backoff, clock, log, metrics };
    const claims = new WorkQueue({
      ...queue,
      name: 'claims',
      reconcile: (uid, signal) => claimLoop.reconcile(uid, signal),
    });
    const volumes = new WorkQueue({
      ...queue,
      name: 'volumes',
      reconcile: (name, signal) => reclaim.reconcile(name, signal),
    });

    const onSource = (ref: SourceRef): void => {
      for (const uid of claimLoop.sourceChanged(ref)) claims.add(uid);
    };
    wakeOnNews(watches, { claims, volumes, intents, events, own, onSource });
    const orphans = ledger && new Orphans({ ...shared, ledger, driverName: own.driverName, clusterUid });
    const changes = new VolumeChanges({
      ...shared,
      ledger,
      orphans,
      capabilities,
      clusterUid,
      recorder: this.#recorder,
    });
    if (ledger !== undefined) {
      const stopRemoved = ledger.onRemoved((volumeId) => {
        for (const volume of watches.volumesOfHandle(volumeId)) volumes.add(volume.metadata.name);
      });
      const stopReleased = ledger.onReleased((volumeId) => {
        for (const { metadata } of watches.volumesOfHandle(volumeId)) {
          reclaim.forgetTries(metadata.name);
          volumes.forget(metadata.name);
          volumes.add(metadata.name);
        }
      });
      // a pool that opens may bring a backend that can what none could before
      const stopSpace = ledger.onSpaceChanged(() => {
        void current.refresh(signal);
        reclaim.checkRoom();
      });
      this.#undo.push(stopRemoved, stopReleased, stopSpace);
    }
    const resync = (): void => {
      for (const claim of watches.claims()) if (isOpen(claim)) claims.add(uidOf(claim));
      for (const volume of watches.volumes())
        if (isOfDriver(volume, own.driverName)) volumes.add(volume.metadata.name);
      changes.resync();
    };
    await watches.start(signal);
    if (ledger !== undefined && orphans !== undefined) {
      const { tombstoneNamespace } = settings;
      const adoption = new HandAdoption({ ...shared, ledger, orphans, clusterUid, tombstoneNamespace });
      this.#unowned = { orphans, adoption };
      if (gate !== undefined) {
        this.#adoption = new AdoptionLoop({ ...shared, ledger, gate, orphans, clusterUid });
        this.#undo.push(this.#adoption.start(signal));
      }
      const source = this.#options.discovery;
      if (source !== undefined) {
        this.#discovery = new DiscoveryLoop({ ...shared, source, ledger, orphans, clusterUid });
        this.#undo.push(this.#discovery.start(signal));
      }
    }
    sweepIntents(intents, (uid) => claims.add(uid), log, true);
    const sweepSources = () => void sweepProtection({ ...shared, protection }, signal);
    sweepSources();
    claims.start(signal);
    volumes.start(signal);
    this.#undo.push(reclaim.start(signal));
    this.#reclaim = reclaim;
    const beside = { ...shared, ledger, capabilities };
    this.#capacity = startCapacity({ ...beside, events: this.#recorder }, signal);
    this.#snapshots = startSnapshots({ ...beside, ...told, onSource }, signal);
    changes.start(signal);
    this.#changes = changes;
    this.#queues = [claims, volumes];
    this.#undo.push(
      every(this.#options.clock, sweepMs, () => sweepIntents(intents, (uid) => claims.add(uid), log, false)),
      every(this.#options.clock, sweepMs, sweepSources),
    );
    this.#undo.push(every(this.#options.clock, resyncMs, resync));
    // a pool may have opened since the first contact
    if (ledger !== undefined) void current.refresh(signal);
    log.info(
      { driver: own.driverName, node: own.nodeName, clusterUid, early: settings.early },
      'the provisioner runs',
    );
    if (watches.isScoped) {
      const label = `${nodeLabel}=${own.topologyValue}`;
      log.info(
        { label },
        'only claims and PVs with this label are seen: a controller with --scoped keeps it',
      );
    }
  }
}
