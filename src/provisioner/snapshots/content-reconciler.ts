import type { EventReason } from '../../claims/event-reasons.ts';
import { backOffMs } from '../../kube/back-off.ts';
import type { VolumeSnapshotContent } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import type { ControllerCapability, DriverSnapshot } from '../../model/csi-driver.ts';
import type { Log } from '../../model/log.ts';
import { statusCodeOf } from '../../model/status-code.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { nodeLabel } from '../../claims/annotations.ts';
import { uidOf } from '../../claims/claim-facts.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import { describeDriverError, type DriverCalls } from '../driver-calls.ts';
import { endFailedTurn } from '../failed-turn.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import { buildSnapshotRequest } from './build-snapshot-request.ts';
import { handleOf } from './content-facts.ts';
import type { ContentWatches } from './content-watches.ts';
import type { ContentWrites } from './content-writes.ts';
import { decideContent, type ContentDecision } from './decide-content.ts';
import { isFinal } from './decide-final.ts';
import { decideOwner } from './decide-owner.ts';

/** The driver is at work, and nobody tells when it is done. */
const polls = { baseMs: 1_000, maxMs: 30_000 };

/** `again`: a step is done, and the content as it is now says what comes next. */
type Step = Outcome | { readonly kind: 'again'; readonly content: VolumeSnapshotContent };

export interface ContentReconcilerOptions {
  readonly contents: ContentWatches;
  readonly writes: ContentWrites;
  readonly volumes: Pick<ClusterView, 'volumesOfHandle'>;
  readonly own: OwnSide;
  /** unset: a driver of other people, whose disks we cannot look at */
  readonly ledger?: Pick<VolumeLedger, 'holdsVolume' | 'holdsSnapshot'> | undefined;
  readonly capabilities: ReadonlySet<ControllerCapability>;
  readonly calls: Pick<DriverCalls, 'createSnapshot' | 'deleteSnapshot' | 'listSnapshots'>;
  readonly events: OutcomeEvents;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The sidecar half of one VolumeSnapshotContent on the node that has its data: the snapshot is made, followed until it is ready, and
 * deleted. Every step can be repeated after a crash; no snapshot is made without a mark on the content that says so beforehand.
 */
export class ContentReconciler {
  readonly #options: ContentReconcilerOptions;
  /** name → answers that the driver is still at work */
  readonly #polls = new Map<string, number>();

  constructor(options: ContentReconcilerOptions) {
    this.#options = options;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { contents, log } = this.#options;
    try {
      for (let content = contents.content(name); content !== undefined;) {
        const step = await this.#step(content, signal);
        if (step.kind !== 'again') return step;
        content = step.content;
      }
      this.#polls.delete(name);
      return { kind: 'done' };
    } catch (error) {
      return endFailedTurn(error, signal, (err) =>
        log.warn({ volumeSnapshotContent: name, err }, 'a snapshot could not be worked on; trying again'),
      );
    }
  }

  async #step(known: VolumeSnapshotContent, signal: AbortSignal): Promise<Step> {
    if (!this.#isOurs(known)) return { kind: 'done' };
    const decision = decideContent(known);
    if (decision.kind === 'keep') {
      this.#polls.delete(known.metadata.name);
      await this.#claimKept(known, signal);
      return { kind: 'done' };
    }
    // whose it is stands on it before anything else is written; with a first creation it is the same write
    const content = decision.kind === 'create' ? known : await this.#options.writes.label(known, signal);
    switch (decision.kind) {
      case 'unmark':
        return { kind: 'again', content: await this.#options.writes.unmark(content, undefined, signal) };
      case 'create':
        return this.#create(content, signal);
      case 'check':
        return this.#check(content, decision.snapshotId, signal);
      case 'delete':
        return this.#delete(content, decision, signal);
      case 'let-go':
        await this.#options.writes.release(content, signal);
        this.#logOf(content).info({}, `let a snapshot's object go: ${decision.reason}`);
        return { kind: 'done' };
    }
  }

  /**
   * A snapshot that came here with its disk: nobody's is taken, another node's is told of. That node may have it too, where a disk was
   * copied, and two that take it from each other would never end.
   */
  async #claimKept(content: VolumeSnapshotContent, signal: AbortSignal): Promise<void> {
    const { own, ledger, writes, events } = this.#options;
    const handle = handleOf(content);
    const label = content.metadata.labels?.[nodeLabel] ?? '';
    if (label === own.topologyValue || handle === '' || ledger?.holdsSnapshot(handle) !== true) return;
    if (label === '') {
      await writes.label(content, signal);
      return;
    }
    const text = `snapshot ${handle} lies on node ${own.nodeName}, and the label ${nodeLabel} names ${label}: take the label off where the disk was moved, and this node puts its own there`;
    events.warning('VolumeSnapshotContent', content, 'SnapshotElsewhere', text);
  }

  #isOurs(content: VolumeSnapshotContent): boolean {
    const { contents, own, ledger, volumes } = this.#options;
    const source = content.spec.source.volumeHandle ?? '';
    const handle = handleOf(content);
    return decideOwner({
      content,
      snapshotClass: contents.classOf(content),
      own,
      sourceVolumes: source === '' ? [] : volumes.volumesOfHandle(source),
      holdsSource: source !== '' && ledger?.holdsVolume(source) === true,
      holdsSnapshot: handle !== '' && ledger?.holdsSnapshot(handle) === true,
    }).isOurs;
  }

  async #create(content: VolumeSnapshotContent, signal: AbortSignal): Promise<Step> {
    const { writes, calls, own, contents } = this.#options;
    const built = buildSnapshotRequest({
      content,
      snapshotClass: contents.classOf(content),
      tellMetadata: own.ownDriver,
    });
    if (built.kind === 'refused')
      return this.#failed(await writes.label(content, signal), built.reason, signal);
    // once the handle is known nothing can get lost any more
    const isMade = (content.status?.snapshotHandle ?? '') !== '';
    const marked = await (isMade ? writes.label(content, signal) : writes.mark(content, signal));
    let snapshot: DriverSnapshot;
    try {
      snapshot = await calls.createSnapshot(built.request, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#createFailed(marked, error, signal);
    }
    return this.#saved(marked, snapshot, signal);
  }

  async #createFailed(marked: VolumeSnapshotContent, error: unknown, signal: AbortSignal): Promise<Step> {
    const { writes, own } = this.#options;
    const text = describeDriverError(error);
    const isOver = isFinal(error, own.ownDriver);
    const content = isOver ? await writes.unmark(marked, undefined, signal) : marked;
    if (isOver && !asksDriver(content)) {
      this.#logOf(content).info({ err: text }, 'no snapshot was made of what is to go');
      return { kind: 'again', content };
    }
    if (statusCodeOf(error) === 'ABORTED') return this.#atWork(content, text);
    return this.#failed(content, text, signal);
  }

  async #check(content: VolumeSnapshotContent, snapshotId: string, signal: AbortSignal): Promise<Step> {
    const { calls, capabilities, own } = this.#options;
    if (!own.ownDriver && !capabilities.has('LIST_SNAPSHOTS')) {
      const taken = { snapshotId, sourceVolumeId: '', sizeBytes: 0n, createdAtMs: 0, isReady: true };
      return this.#saved(content, taken, signal);
    }
    let snapshot: DriverSnapshot | undefined;
    try {
      const request = { maxEntries: 0, startingToken: '', snapshotId };
      const { entries } = await calls.listSnapshots(request, signal);
      snapshot = entries.find((entry) => entry.snapshotId === snapshotId);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#failed(content, describeDriverError(error), signal);
    }
    if (snapshot === undefined)
      return this.#failed(content, `there is no snapshot ${snapshotId} on this node`, signal);
    return this.#saved(content, snapshot, signal);
  }

  /** The driver has the snapshot: first its handle is written down, then the mark comes off. */
  async #saved(content: VolumeSnapshotContent, snapshot: DriverSnapshot, signal: AbortSignal): Promise<Step> {
    const { writes } = this.#options;
    const saved = await writes.saveSnapshot(content, snapshot, signal);
    const now = await writes.unmark(saved, snapshot.consistency, signal);
    const { snapshotId, isReady } = snapshot;
    if (!asksDriver(now)) {
      if (isReady) this.#logOf(now).info({ snapshotId }, 'a snapshot is ready');
      return { kind: 'again', content: now };
    }
    return this.#atWork(now, `snapshot ${snapshotId} is not ready yet`);
  }

  async #delete(
    content: VolumeSnapshotContent,
    { snapshotId, reason }: Extract<ContentDecision, { kind: 'delete' }>,
    signal: AbortSignal,
  ): Promise<Step> {
    const { writes, calls, events } = this.#options;
    const log = this.#logOf(content);
    try {
      await calls.deleteSnapshot(snapshotId, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const text = describeDriverError(error);
      if (statusCodeOf(error) === 'ABORTED') return this.#atWork(content, text);
      events.warning(
        'VolumeSnapshotContent',
        content,
        'SnapshotDeleteError',
        `Failed to delete snapshot: ${text}`,
      );
      log.warn({ snapshotId, err: text }, 'the snapshot could not be deleted; trying again');
      return { kind: 'retry' };
    }
    log.info({ snapshotId }, `deleted a snapshot: ${reason}`);
    return { kind: 'again', content: await writes.clearSnapshot(content, signal) };
  }

  /** No failure: the driver is asked again, less often each time. */
  #atWork(content: VolumeSnapshotContent, text: string): Outcome {
    const { name } = content.metadata;
    const attempts = (this.#polls.get(name) ?? 0) + 1;
    this.#polls.set(name, attempts);
    this.#logOf(content).info({ attempts }, `the driver is still at work: ${text}`);
    return { kind: 'retry', afterMs: backOffMs(attempts, polls) };
  }

  /** Told on the content, from where its controller copies it to the VolumeSnapshot. */
  async #failed(content: VolumeSnapshotContent, text: string, signal: AbortSignal): Promise<Outcome> {
    const { events, writes } = this.#options;
    const isFirst = content.spec.source.volumeHandle !== undefined && handleOf(content) === '';
    const [reason, message]: [EventReason, string] = isFirst
      ? ['SnapshotCreationFailed', `Failed to create snapshot: ${text}`]
      : ['SnapshotContentCheckandUpdateFailed', `Failed to check and update snapshot content: ${text}`];
    events.warning('VolumeSnapshotContent', content, reason, message);
    this.#logOf(content).warn({ err: text }, 'there is no snapshot yet; trying again');
    await writes.saveError(content, message, signal);
    return { kind: 'retry' };
  }

  #logOf(content: VolumeSnapshotContent): Log {
    const { namespace = '', name = '' } = content.spec.volumeSnapshotRef;
    return this.#options.log.child({
      volumeSnapshotContent: content.metadata.name,
      contentUid: uidOf(content),
      volumeSnapshot: `${namespace}/${name}`,
    });
  }
}

/** Whether the next step would be to ask the driver the same again, which is for later. */
function asksDriver(content: VolumeSnapshotContent): boolean {
  const { kind } = decideContent(content);
  return kind === 'create' || kind === 'check';
}
