import { cloningFinalizer, nodeLabel, restoringFinalizer } from '../claims/annotations.ts';
import { selectedNodeOf } from '../claims/claim-facts.ts';
import { describeSource, isToBeMadeOf, type SourceRef } from '../claims/data-source.ts';
import { topologyValueOf } from '../claims/volume-facts.ts';
import { ApiError, isConflict, isKindMissing, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim, VolumeSnapshot } from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { labelValueOf } from '../model/topology-value.ts';
import { isAway } from './node-trouble.ts';
import type { Survey } from './survey.ts';
import type { Watches } from './watches.ts';

export interface SourceSweepOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly survey: Survey;
  readonly driverName: string;
  readonly unreachableAfterMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** A source that is kept from being deleted. */
interface Kept {
  readonly ref: SourceRef;
  readonly object: PersistentVolumeClaim | VolumeSnapshot;
  /** topology value of the node that makes copies of it, which put the finalizer there */
  readonly node: string;
}

/**
 * Takes the finalizers of copies off sources whose node will not: it is gone, or away for longer than the limit, and no claim waits for
 * it to be copied there. A node that works sees to its own. Each write has the object's version as precondition; what fails is tried
 * at the next sweep, and a node that comes back and copies after all only puts its finalizer there again.
 */
export async function sweepSources(options: SourceSweepOptions, signal: AbortSignal): Promise<void> {
  const { log } = options;
  try {
    for (const kept of [...(await keptClaims(options, signal)), ...(await keptSnapshots(options, signal))]) {
      if (!isNodeAway(options, kept.node) || (await isWanted(options, kept, signal))) continue;
      await endProtection(options, kept, signal);
    }
  } catch (error) {
    if (!signal.aborted)
      log.warn(
        { err: messageOf(error) },
        'could not look for sources that nodes have left protected; later again',
      );
  }
}

async function keptClaims(options: SourceSweepOptions, signal: AbortSignal): Promise<Kept[]> {
  const { api, watches, driverName } = options;
  const kept: Kept[] = [];
  for (const { metadata, spec } of watches.claims()) {
    if (metadata.finalizers?.includes(cloningFinalizer) !== true) continue;
    const volume = await volumeNamed(options, spec.volumeName ?? '', signal);
    if (volume?.spec.csi?.driver !== driverName) continue;
    const { namespace = '', name } = metadata;
    const object = await lookUp(api, 'PersistentVolumeClaim', { namespace, name }, signal);
    const node = topologyValueOf(volume);
    if (object !== undefined && node !== undefined)
      kept.push({ ref: { kind: 'claim', namespace, name }, object, node });
  }
  return kept;
}

async function keptSnapshots(options: SourceSweepOptions, signal: AbortSignal): Promise<Kept[]> {
  const { api, driverName } = options;
  const isKept = ({ metadata }: VolumeSnapshot) => metadata.finalizers?.includes(restoringFinalizer) === true;
  const kept: Kept[] = [];
  for (const object of await listSnapshots(api, isKept, signal)) {
    const contentName = object.status?.boundVolumeSnapshotContentName ?? '';
    if (contentName === '') continue;
    const content = await lookUp(api, 'VolumeSnapshotContent', { name: contentName }, signal);
    if (content?.spec.driver !== driverName) continue;
    const captured = await volumeNamed(options, content.spec.source.volumeHandle ?? '', signal);
    const node = content.metadata.labels?.[nodeLabel] ?? (captured && topologyValueOf(captured));
    const { namespace = '', name } = object.metadata;
    if (node !== undefined) kept.push({ ref: { kind: 'snapshot', namespace, name }, object, node });
  }
  return kept;
}

async function listSnapshots(
  api: KubeApi,
  keep: (snapshot: VolumeSnapshot) => boolean,
  signal: AbortSignal,
): Promise<readonly VolumeSnapshot[]> {
  try {
    return (await api.list('VolumeSnapshot', { keep }, signal)).items;
  } catch (error) {
    if (isKindMissing(error) || isForbidden(error)) return [];
    throw error;
  }
}

/** A name that no object can have is nobody's. */
async function volumeNamed(
  { api }: SourceSweepOptions,
  name: string,
  signal: AbortSignal,
): Promise<PersistentVolume | undefined> {
  if (!/^[a-z0-9][-a-z0-9.]*$/.test(name)) return undefined;
  return lookUp(api, 'PersistentVolume', { name }, signal);
}

function isNodeAway(
  { watches, survey, clock, unreachableAfterMs }: SourceSweepOptions,
  value: string,
): boolean {
  return watches.nodesOfValue(value).every(({ metadata: { name } }) => {
    const state = survey.nodeState(name);
    return state === undefined || isAway(state, survey.absenceOf(name), clock.nowMs(), unreachableAfterMs);
  });
}

/** Whether a claim is to be made of it by that node, or by one that has yet to be selected, asked of the API server. */
async function isWanted(
  { api }: SourceSweepOptions,
  { ref, node }: Kept,
  signal: AbortSignal,
): Promise<boolean> {
  const keep = (claim: PersistentVolumeClaim): boolean => {
    const selected = selectedNodeOf(claim);
    return isToBeMadeOf(claim, ref) && (selected === undefined || labelValueOf(selected) === node);
  };
  const { items } = await api.list('PersistentVolumeClaim', { namespace: ref.namespace, keep }, signal);
  return items.length > 0;
}

async function endProtection(
  { api, watches, log, metrics }: SourceSweepOptions,
  { ref, object, node }: Kept,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, name, kind } = ref;
  const { resourceVersion, finalizers = [] } = object.metadata;
  const ours = kind === 'claim' ? cloningFinalizer : restoringFinalizer;
  const left = finalizers.filter((finalizer) => finalizer !== ours);
  const patch = { type: 'merge', body: { metadata: { resourceVersion, finalizers: left } } } as const;
  const key = { namespace, name };
  try {
    if (kind === 'snapshot') await api.patch('VolumeSnapshot', key, patch, signal);
    else watches.putClaim(await api.patch('PersistentVolumeClaim', key, patch, signal));
  } catch (error) {
    if (isConflict(error) || isNotFound(error)) return;
    if (!isForbidden(error)) throw error;
    log.warn(
      { source: describeSource(ref), err: messageOf(error) },
      'a source stays protected: it is not allowed',
    );
    return;
  }
  metrics.count('loam_protections_ended_total', { kind });
  log.info({ source: describeSource(ref), node }, 'ended the protection of a source whose node is away');
}

function isForbidden(error: unknown): boolean {
  return error instanceof ApiError && error.status === 403;
}
