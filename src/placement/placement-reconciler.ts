import { nodeLabel, selectedNode } from '../claims/annotations.ts';
import { claimRefOf, logFacts, uidOf, volumeNameFor } from '../claims/claim-facts.ts';
import { describeSource, type SourceRef } from '../claims/data-source.ts';
import { findSource } from '../claims/find-source.ts';
import { SourceWaits } from '../claims/source-waits.ts';
import type { PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import { sizeOf } from './claim-size.ts';
import { decideAdvice, decideNode, promiseMs, mayPublishSoon, type NodeDecision } from './decide-node.ts';
import { decideTurn, type Turn } from './decide-turn.ts';
import { describeJoin, describeNowhere } from './describe-nowhere.ts';
import { guardClaim, type GuardOptions } from './guard-claim.ts';
import type { NodeState } from './node-state.ts';
import { patchClaim } from './patch-claim.ts';

/** How long capacity objects of a class may be missing before its claims are told so: nodes that start need a moment. */
const unpublishedMs = 5_000;
/** How long a claim waits for them where others are there: who makes a class makes its first claims in the same breath. */
const spreadMs = 1_000;
/** Our own promises are kept or broken within a second or two; nobody needs to hear of them before. */
const promisesSettleMs = 1_000;

/** Most news of sources are heard; this is for those that are not, and for what follows a moment after the news. */
const sourceWaits = { baseMs: 250, maxMs: 15_000 };
const unlabelled =
  'its VolumeSnapshotContent has no label loam.dev/node and the PersistentVolume that it was taken of is gone, or on no single node; put that label there';

export interface PlacementReconcilerOptions extends GuardOptions {
  readonly scoped?: boolean;
}

/** Finds a node for one claim, or sees that the node which it waits for is there. Its key is the claim's uid. */
export class PlacementReconciler {
  readonly #options: PlacementReconcilerOptions;
  /** claims that no node can have, by class: news of nodes wake them */
  readonly #stranded = new Map<string, string>();
  /** claims of which it is too early to say, by class: the first capacity objects wake them */
  readonly #unjudged = new Map<string, string>();
  readonly #unpublishedSince = new Map<string, number>();
  readonly #sourceWaits = new SourceWaits(sourceWaits);

  constructor(options: PlacementReconcilerOptions) {
    this.#options = options;
  }

  /** Claims that no node could have when they were last looked at, with their classes. */
  stranded(): ReadonlyMap<string, string> {
    return this.#stranded;
  }

  /** Claims that news of capacity may help, each with its class. */
  *waiting(): Iterable<readonly [claimUid: string, className: string]> {
    yield* this.#stranded;
    yield* this.#unjudged;
  }

  /** Something became of what claims may be made of. @returns those that waited for it */
  sourceChanged(ref: SourceRef): readonly string[] {
    return this.#sourceWaits.wake(ref);
  }

  async reconcile(claimUid: string, signal: AbortSignal): Promise<Outcome> {
    const { watches, survey, reports, driverName } = this.#options;
    this.#unjudged.delete(claimUid);
    const claim = watches.claimByUid(claimUid);
    if (claim === undefined) {
      this.#stranded.delete(claimUid);
      this.#sourceWaits.forget(claimUid);
      reports.forget(claimUid);
      survey.forget(claimUid);
      return { kind: 'done' };
    }
    const turn = decideTurn({
      claim,
      storageClass: watches.classOf(claim),
      driverName,
      existing: watches.volume(volumeNameFor(claimUid)),
      claimVolumes: watches.volumesNaming(claim),
      freeVolumes: watches.freeVolumesFor(claim),
      afterCallOnly: this.#options.scoped === true,
    });
    if (turn.kind !== 'place' && turn.kind !== 'advise' && turn.kind !== 'join')
      this.#stranded.delete(claimUid);
    if (turn.kind !== 'join') this.#sourceWaits.forget(claimUid);
    return this.#follow(turn, claim, signal);
  }

  async #follow(turn: Turn, claim: PersistentVolumeClaim, signal: AbortSignal): Promise<Outcome> {
    const { reports, log, survey } = this.#options;
    switch (turn.kind) {
      case 'ignore':
        log.debug({ ...logFacts(claimRefOf(claim)), reason: turn.reason }, 'not for placement');
        reports.forget(uidOf(claim));
        survey.settled(uidOf(claim));
        return { kind: 'done' };
      case 'refuse':
        return {
          kind: 'retry',
          afterMs: reports.cannotBeHad(claim, { text: turn.reason, kind: turn.reason }),
        };
      case 'guard':
        return guardClaim(this.#options, claim, turn.nodeName, signal);
      case 'advise': {
        const facts = survey.factsFor(claim, turn.storageClass);
        const decision = decideAdvice(facts);
        if (decision.kind === 'nowhere') return this.#strand(decision, claim, turn.storageClass);
        this.#stranded.delete(uidOf(claim));
        if (facts.candidates.every(({ room }) => room === undefined))
          this.#unjudged.set(uidOf(claim), turn.storageClass.metadata.name);
        reports.forget(uidOf(claim));
        return { kind: 'done' };
      }
      case 'join':
        return this.#join(claim, turn, signal);
      case 'place': {
        const facts = survey.factsFor(claim, turn.storageClass);
        const decision = decideNode(facts);
        if (decision.kind === 'nowhere') return this.#strand(decision, claim, turn.storageClass);
        const className = turn.storageClass.metadata.name;
        const restMs = this.#unpublishedRestMs(className, !mayPublishSoon(facts), spreadMs);
        if (restMs > 0) {
          this.#unjudged.set(uidOf(claim), className);
          return { kind: 'retry', afterMs: restMs };
        }
        this.#stranded.delete(uidOf(claim));
        return this.#place(claim, decision.node, decision.reason, signal);
      }
    }
  }

  async #place(
    claim: PersistentVolumeClaim,
    node: NodeState,
    reason: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { survey, reports } = this.#options;
    // before anything is awaited: the next claim's decision has to know
    survey.promise(claim, node.name);
    // a patch without an answer may have taken effect: then the watch says so, and the promise runs out by itself
    if (await this.#select(claim, node, signal)) {
      reports.placed(claim, node.name, reason);
      return { kind: 'done' };
    }
    survey.promised.end(uidOf(claim));
    reports.overtaken();
    // the watch brings what has changed, and with it the next try
    return { kind: 'retry' };
  }

  /** A copy goes to the node of its source, or nowhere. */
  async #join(
    claim: PersistentVolumeClaim,
    { storageClass, source }: Extract<Turn, { kind: 'join' }>,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { api, survey, reports, driverName } = this.#options;
    const what = describeSource(source);
    const found = await findSource(api, { claim, ref: source, driverName }, signal);
    if (found.kind === 'not-ready' || found.node === undefined) {
      const text =
        found.kind === 'not-ready' ? found.reason : `it is not known which node has ${what}; ${unlabelled}`;
      reports.cannotBeHad(claim, { text, kind: text });
      // no news of nodes help, and none come of the source
      this.#stranded.delete(uidOf(claim));
      return { kind: 'retry', afterMs: this.#sourceWaits.wait(uidOf(claim), source) };
    }
    this.#sourceWaits.forget(uidOf(claim));
    const { node } = found;
    const facts = survey.factsFor(claim, storageClass);
    const candidates = facts.candidates.filter((each) => each.node.topologyValue === node);
    const decision = decideNode({ ...facts, candidates });
    if (decision.kind === 'nowhere') {
      return this.#strand(decision, claim, storageClass, () =>
        describeJoin(decision.verdicts[0], sizeOf(claim), { what, node }),
      );
    }
    this.#stranded.delete(uidOf(claim));
    return this.#place(claim, decision.node, `${what} is there`, signal);
  }

  /** No node, for now: its owner is told, and news of nodes bring it back. */
  #strand(
    decision: Extract<NodeDecision, { kind: 'nowhere' }>,
    claim: PersistentVolumeClaim,
    storageClass: StorageClass,
    describe = () => describeNowhere(decision.verdicts, sizeOf(claim), storageClass.metadata.name),
  ): Outcome {
    const { reports } = this.#options;
    const className = storageClass.metadata.name;
    this.#stranded.set(uidOf(claim), className);
    const { verdicts, againInMs } = decision;
    const isPublished =
      verdicts.some(({ candidate }) => candidate.room !== undefined) &&
      verdicts.every(({ obstacle }) => obstacle !== 'unpublished');
    const restMs = this.#unpublishedRestMs(className, isPublished, unpublishedMs);
    if (restMs > 0) return { kind: 'retry', afterMs: restMs };
    // others' claims are on their way to the room that is there: what is left of it shows in a moment
    if (verdicts.some(({ obstacle }) => obstacle === 'promised')) {
      // hundreds that wait for the same room need not look at it together every second
      const afterMs = promisesSettleMs * (1 + this.#stranded.size / 100);
      return { kind: 'retry', afterMs: Math.min(afterMs, promiseMs) };
    }
    const repeatInMs = reports.cannotBeHad(claim, describe());
    return { kind: 'retry', afterMs: Math.min(repeatInMs, againInMs ?? repeatInMs) };
  }

  /** How long to wait until it counts that some nodes, or all, publish nothing for a class. */
  #unpublishedRestMs(className: string, isPublished: boolean, patienceMs: number): number {
    if (isPublished) {
      this.#unpublishedSince.delete(className);
      return 0;
    }
    const nowMs = this.#options.clock.nowMs();
    const sinceMs = this.#unpublishedSince.get(className) ?? nowMs;
    this.#unpublishedSince.set(className, sinceMs);
    return sinceMs + patienceMs - nowMs;
  }

  #select(claim: PersistentVolumeClaim, node: NodeState, signal: AbortSignal): Promise<boolean> {
    const body = {
      metadata: {
        resourceVersion: claim.metadata.resourceVersion,
        annotations: { [selectedNode]: node.name },
        labels: { [nodeLabel]: node.topologyValue },
      },
    };
    return patchClaim(this.#options, claim, body, signal);
  }
}
