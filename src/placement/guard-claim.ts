import { nodeLabel, selectedNode } from '../claims/annotations.ts';
import { claimRefOf, logFacts, selectedNodeOf, uidOf, volumeNameFor } from '../claims/claim-facts.ts';
import { namesClaim } from '../claims/volume-facts.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { decideRelease, type ReleaseCause } from './decide-release.ts';
import { nodeStateOf } from './node-state.ts';
import { patchClaim } from './patch-claim.ts';
import type { PlacementReports } from './placement-reports.ts';
import type { Survey } from './survey.ts';
import type { Watches } from './watches.ts';

export interface GuardOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly survey: Survey;
  readonly reports: PlacementReports;
  readonly driverName: string;
  readonly unreachableAfterMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** A claim that waits for its node is let go where that node is gone, or away for long, and gets another. */
export async function guardClaim(
  options: GuardOptions,
  claim: PersistentVolumeClaim,
  nodeName: string,
  signal: AbortSignal,
): Promise<Outcome> {
  const { survey, clock, unreachableAfterMs, reports, log } = options;
  const decision = decideRelease({
    nodeName,
    node: survey.nodeState(nodeName),
    ...survey.absenceOf(nodeName),
    selectedSinceMs: survey.selectedSinceMs(uidOf(claim)),
    // looked up below
    hasVolume: false,
    nowMs: clock.nowMs(),
    unreachableAfterMs,
  });
  if (decision.kind === 'keep') return { kind: 'done' };
  log.debug({ ...logFacts(claimRefOf(claim)), reason: decision.reason }, 'its node is away');
  if (decision.kind === 'wait') return { kind: 'retry', afterMs: decision.afterMs };
  // all that was known may be a moment old, and this is not to be done on an old memory
  const live = await stillWaiting(options, claim, nodeName, decision.cause, signal);
  if (live === undefined) return { kind: 'retry' };
  const { resourceVersion } = live.metadata;
  const body = {
    metadata: { resourceVersion, annotations: { [selectedNode]: null }, labels: { [nodeLabel]: null } },
  };
  if (!(await patchClaim(options, live, body, signal))) return { kind: 'retry' };
  reports.released(claim, decision.cause, decision.reason);
  return { kind: 'done' };
}

/** The claim as it is now, if it still waits for this node and has no volume, and the node has not come back. */
async function stillWaiting(
  { api, watches, driverName }: GuardOptions,
  claim: PersistentVolumeClaim,
  nodeName: string,
  cause: ReleaseCause,
  signal: AbortSignal,
): Promise<PersistentVolumeClaim | undefined> {
  const { namespace = '', name } = claim.metadata;
  const [live, volume, node] = await Promise.all([
    lookUp(api, 'PersistentVolumeClaim', { namespace, name }, signal),
    lookUp(api, 'PersistentVolume', { name: volumeNameFor(uidOf(claim)) }, signal),
    lookUp(api, 'Node', { name: nodeName }, signal),
  ]);
  const isBack =
    node !== undefined &&
    (cause === 'node-gone' || (cause === 'not-ready' && nodeStateOf(node, undefined, driverName).isReady));
  const isSame = live !== undefined && uidOf(live) === uidOf(claim) && selectedNodeOf(live) === nodeName;
  if (!isSame || (live.spec.volumeName ?? '') !== '' || volume !== undefined || isBack) return undefined;
  const reserved = watches.volumesNaming(live).some((other) => namesClaim(other, live));
  return reserved ? undefined : live;
}
