import { randomInt } from 'node:crypto';
import { EventRecorder } from '../kube/event-recorder.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
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
import { CapacityPublisher } from './capacity/capacity-publisher.ts';
import { ClaimReconciler } from './claim-reconciler.ts';
import type { ConditionSource } from './conditions/condition-loop.ts';
import { VolumeDestruction } from './reclaim/destroy-volume.ts';
import { DriverCalls } from './driver-calls.ts';
import { CurrentCapabilities } from './current-capabilities.ts';
import { meetDriver, readClusterUid } from './first-contact.ts';
import { Intents } from './intents.ts';
import { OutcomeEvents } from './outcome-events.ts';
import { SourceProtection } from './protect-source.ts';
import { sweepProtection } from './sweep-protection.ts';
import { SharedHandles } from './reclaim/shared-handles.ts';
import { SlowClaims } from './slow-claims.ts';
import { sweepIntents, sweepMs } from './sweep-intents.ts';
import { SnapshotLoop, snapshotTimeoutMs } from './snapshots/snapshot-loop.ts';
import { isOfDriver, type OwnSide } from '../claims/volume-facts.ts';
import { VolumeChanges } from './volume-changes.ts';
import { VolumeReconciler } from './reclaim/volume-reconciler.ts';
import { Watches } from './watches.ts';

/** Upstream's: 1 s, doubling to 5 min. */
const backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };
const resyncMs = 15 * 60_000;
const flushMs = 2_000;

export interface ProvisionerSettings {
  readonly driverName: string;
  readonly nodeName: string;
  /** this node in our topology key */
  readonly topologyValue: string;
  /** whether claims are taken before kube-controller-manager asks, where that makes no difference */
  readonly early: boolean;
  /** whether a new PV's phase is written too */
  readonly writePhase: boolean;
  /** whether Immediate claims that no node was chosen for are this node's */
  readonly immediateOnThisNode: boolean;
  /** watch the claims and PVs with this node's label only, which a controller has to keep */
  readonly scoped?: boolean;
  /** look after this node's VolumeSnapshotContents, as csi-snapshotter does; unset: somebody else does, or nobody */
  readonly snapshots?: boolean;
  /** grow this node's volumes and apply VolumeAttributesClasses to them, as external-resizer does; unset: as above */
  readonly expansion?: boolean;
  readonly modification?: boolean;
  /** the driver has no EXPAND_VOLUME in its controller half, and grows volumes on kubelet's call */
  readonly kubeletExpands?: boolean;
  /** where capacity objects are published; unset: nowhere */
  readonly capacityNamespace?: string;
  /** unset: read from the API */
  readonly clusterUid?: string;
  readonly workers: number;
  /** deadline of one driver call */
  readonly timeoutMs: number;
}

export interface ProvisionerOptions {
  readonly api: KubeApi;
  readonly driver: CsiDriver;
  /** unset: a driver of other people, whose records we cannot read */
  readonly ledger?: VolumeLedger;
  /** how our own driver's volumes are; unset: nobody tells on claims */
  readonly conditions?: ConditionSource;
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
    ]);
    const late = new AbortController();
    const cancel = this.#options.clock.after(flushMs, () => late.abort());
    await this.#recorder.flush(late.signal).finally(cancel);
  }

  /** Whether the loops run on news and not on memories (readyz). */
  isFresh(): boolean {
    return this.#queues.length > 0 && !this.#stopping.signal.aborted && this.#watches.areFresh();
  }

  /** Sets the gauges that are only worth computing for a scrape. */
  measure(): void {
    for (const queue of this.#queues) queue.measure();
    this.#snapshots?.measure();
    this.#changes?.measure();
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
    const calls = new DriverCalls({
      driver,
      driverName: own.driverName,
      timeoutMs: settings.timeoutMs,
      clock,
      metrics,
      // our own driver tells by itself
      ...(ledger === undefined ? { onSpaceUsed: () => this.#capacity?.refresh() } : {}),
    });
    const intents = new Intents({ ledger, clusterUid, clock });
    const identity = `${clock.nowMs()}-${randomInt(10_000)}-${own.driverName}-${own.nodeName}`;
    const sharedHandles = new SharedHandles({ api: this.#options.api, watches });
    const shared = { ...this.#options, ...settings, watches, events, calls, own, sharedHandles };
    const protection = new SourceProtection(shared, signal);
    const claimLoop = new ClaimReconciler({
      ...shared,
      ledger,
      intents,
      protection,
      slow: new SlowClaims(clock),
      capabilities,
      clusterUid,
      identity,
    });
    const destruction = new VolumeDestruction(shared);
    const volumeLoop = new VolumeReconciler({
      ...shared,
      destruction,
      wasUsed: (volumeId) => ledger?.wasUsed(volumeId) ?? true,
    });
    const queue = { workers: settings.workers, backoff, clock, log, metrics };
    const claims = new WorkQueue({
      ...queue,
      name: 'claims',
      reconcile: (uid, signal) => claimLoop.reconcile(uid, signal),
    });
    const volumes = new WorkQueue({
      ...queue,
      name: 'volumes',
      reconcile: (name, signal) => volumeLoop.reconcile(name, signal),
    });

    const onSource = (ref: SourceRef): void => {
      for (const uid of claimLoop.sourceChanged(ref)) claims.add(uid);
    };
    this.#listen({ claims, volumes, intents, events, own, onSource });
    const changes = new VolumeChanges({ ...shared, ledger, capabilities, recorder: this.#recorder });
    if (ledger !== undefined) {
      const stopRemoved = ledger.onRemoved((volumeId) => {
        for (const volume of watches.volumesOfHandle(volumeId)) volumes.add(volume.metadata.name);
      });
      const stopReleased = ledger.onReleased((volumeId) => {
        for (const { metadata } of watches.volumesOfHandle(volumeId)) {
          destruction.forgetTries(metadata.name);
          volumes.forget(metadata.name);
          volumes.add(metadata.name);
        }
      });
      // a pool that opens may bring a backend that can what none could before
      const stopSpace = ledger.onSpaceChanged(() => void current.refresh(signal));
      this.#undo.push(stopRemoved, stopReleased, stopSpace);
    }
    const resync = (): void => {
      for (const claim of watches.claims()) if (isOpen(claim)) claims.add(uidOf(claim));
      for (const volume of watches.volumes())
        if (isOfDriver(volume, own.driverName)) volumes.add(volume.metadata.name);
      changes.resync();
    };
    await watches.start(signal);
    sweepIntents(intents, (uid) => claims.add(uid), log, true);
    const sweepSources = () => void sweepProtection({ ...shared, protection }, signal);
    sweepSources();
    claims.start(signal);
    volumes.start(signal);
    this.#publishCapacity({ own, ledger, capabilities, calls, signal });
    this.#lookAfterSnapshots({ own, ledger, capabilities, events, onSource, signal });
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

  #publishCapacity(parts: {
    readonly own: OwnSide;
    readonly ledger: VolumeLedger | undefined;
    readonly capabilities: ReadonlySet<ControllerCapability>;
    readonly calls: DriverCalls;
    readonly signal: AbortSignal;
  }): void {
    const namespace = this.#options.settings.capacityNamespace;
    if (namespace === undefined || !parts.capabilities.has('GET_CAPACITY')) return;
    const capacity = new CapacityPublisher({
      ...this.#options,
      ...parts,
      namespace,
      classes: () => this.#watches.classes(),
      events: this.#recorder,
    });
    this.#watches.onClass(({ previous, current }) => {
      const drivers = [previous?.provisioner, current?.provisioner];
      if (drivers.includes(parts.own.driverName)) capacity.refresh();
    });
    capacity.start(parts.signal);
    this.#capacity = capacity;
  }

  #lookAfterSnapshots({
    signal,
    ...parts
  }: {
    readonly own: OwnSide;
    readonly ledger: VolumeLedger | undefined;
    readonly capabilities: ReadonlySet<ControllerCapability>;
    readonly events: OutcomeEvents;
    readonly onSource: (ref: SourceRef) => void;
    readonly signal: AbortSignal;
  }): void {
    const { driver, settings } = this.#options;
    // what our own driver can do follows from pools that may be opened later
    const isAble = parts.own.ownDriver || parts.capabilities.has('CREATE_DELETE_SNAPSHOT');
    if (settings.snapshots !== true || !isAble) return;
    const { driverName } = parts.own;
    const calls = new DriverCalls({
      ...this.#options,
      driver,
      driverName,
      timeoutMs: snapshotTimeoutMs,
      ...(parts.ledger === undefined ? { onSpaceUsed: () => this.#capacity?.refresh() } : {}),
    });
    const snapshots = new SnapshotLoop({ ...this.#options, ...parts, calls, volumes: this.#watches });
    this.#watches.onVolume(({ previous, current }) => {
      if (previous === undefined && current !== undefined) snapshots.onVolume(current);
    });
    snapshots.start(signal);
    this.#snapshots = snapshots;
  }

  /** Which news wake which work. */
  #listen({
    claims,
    volumes,
    intents,
    events,
    own,
    onSource,
  }: {
    readonly claims: WorkQueue;
    readonly volumes: WorkQueue;
    readonly intents: Intents;
    readonly events: OutcomeEvents;
    readonly own: OwnSide;
    readonly onSource: (ref: SourceRef) => void;
  }): void {
    const watches = this.#watches;
    watches.onClaim(({ previous, current }) => {
      if (current !== undefined && isBound(current) && (previous === undefined || !isBound(previous))) {
        const { namespace = '', name } = current.metadata;
        onSource({ kind: 'claim', namespace, name });
      }
      if (current !== undefined && (isOpen(current) || intents.has(uidOf(current))))
        claims.add(uidOf(current));
      if (previous === undefined || (current !== undefined && uidOf(previous) === uidOf(current))) return;
      // gone, or made anew under the same name
      claims.add(uidOf(previous));
      for (const volume of watches.volumesNaming(previous)) this.#addVolume(volumes, volume, own);
    });
    watches.onVolume(({ previous, current }) => {
      if (current !== undefined) this.#addVolume(volumes, current, own);
      if (previous === undefined || (current !== undefined && uidOf(previous) === uidOf(current))) return;
      events.forget(uidOf(previous));
      volumes.add(previous.metadata.name);
      // one that had the same data may have waited for this one's end
      const handle = previous.spec.csi?.volumeHandle ?? '';
      for (const volume of watches.volumesOfHandle(handle)) this.#addVolume(volumes, volume, own);
    });
    watches.onClass(({ current }) => {
      if (current?.provisioner !== own.driverName) return;
      for (const claim of watches.claimsOfClass(current.metadata.name))
        if (isOpen(claim)) claims.add(uidOf(claim));
    });
  }

  #addVolume(volumes: WorkQueue, volume: PersistentVolume, own: OwnSide): void {
    if (isOfDriver(volume, own.driverName)) volumes.add(volume.metadata.name);
  }
}

/** Whether it can be cloned. */
function isBound({ status }: PersistentVolumeClaim): boolean {
  return status?.phase === 'Bound';
}

/** Whether anything is left to do for a claim. */
function isOpen(claim: PersistentVolumeClaim): boolean {
  return (claim.spec.volumeName ?? '') === '';
}
