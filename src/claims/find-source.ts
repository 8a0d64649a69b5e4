import { isKindMissing, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolumeClaim, VolumeSnapshot } from '../kube/objects.ts';
import { messageOf } from '../model/errors.ts';
import type { ContentSource } from '../model/volume.ts';
import { describeSource, type SourceRef } from './data-source.ts';
import { decideClone } from './decide-clone.ts';
import { decideRestore, type SourceDecision } from './decide-restore.ts';
import { topologyValueOf } from './volume-facts.ts';

export type FoundSource =
  | {
      readonly kind: 'ready';
      readonly contentSource: ContentSource;
      /** topology value of the node that has it; unset: that is not known */
      readonly node?: string;
      /** what has to stay for as long as it is copied from */
      readonly object: VolumeSnapshot | PersistentVolumeClaim;
    }
  | { readonly kind: 'not-ready'; readonly reason: string };

/**
 * Looks a claim's source up, as it is now, and judges it. Nothing of it comes from a watch: few claims have a source, and each has it
 * once.
 *
 * @throws what a look-up threw but for absence: then nothing is known
 */
export async function findSource(
  api: KubeApi,
  wish: { readonly claim: PersistentVolumeClaim; readonly ref: SourceRef; readonly driverName: string },
  signal: AbortSignal,
): Promise<FoundSource> {
  return wish.ref.kind === 'snapshot' ? findSnapshot(api, wish, signal) : findClaim(api, wish, signal);
}

type Wish = Parameters<typeof findSource>[1];

async function findSnapshot(
  api: KubeApi,
  { claim, ref, driverName }: Wish,
  signal: AbortSignal,
): Promise<FoundSource> {
  const { namespace, name } = ref;
  let snapshot: VolumeSnapshot;
  try {
    snapshot = await api.get('VolumeSnapshot', { namespace, name }, signal);
  } catch (error) {
    if (isKindMissing(error)) {
      return notReady(
        `${describeSource(ref)} cannot be restored: the cluster has no VolumeSnapshots, since external-snapshotter is not installed`,
      );
    }
    if (isNotFound(error)) return notReady(`${describeSource(ref)} is not there`);
    throw error;
  }
  const contentName = snapshot.status?.boundVolumeSnapshotContentName ?? '';
  const content =
    contentName === ''
      ? undefined
      : await lookUp(api, 'VolumeSnapshotContent', { name: contentName }, signal);
  const decision = judged(() => decideRestore({ claim, driverName, snapshot, content }));
  if (decision.kind === 'not-ready') return decision;
  const { contentSource, capturedVolume } = decision;
  const node =
    decision.node ??
    (capturedVolume === undefined ? undefined : await nodeOf(api, capturedVolume, driverName, signal));
  return {
    kind: 'ready',
    contentSource,
    object: snapshot,
    ...(node === undefined ? {} : { node }),
  };
}

async function findClaim(
  api: KubeApi,
  { claim, ref, driverName }: Wish,
  signal: AbortSignal,
): Promise<FoundSource> {
  const { namespace, name } = ref;
  const source = await lookUp(api, 'PersistentVolumeClaim', { namespace, name }, signal);
  if (source === undefined) return notReady(`${describeSource(ref)} is not there`);
  const volumeName = source.spec.volumeName ?? '';
  const volume =
    volumeName === '' ? undefined : await lookUp(api, 'PersistentVolume', { name: volumeName }, signal);
  const decision = judged(() => decideClone({ claim, driverName, source, volume }));
  if (decision.kind === 'not-ready') return decision;
  const { contentSource, node } = decision;
  return { kind: 'ready', contentSource, object: source, ...(node === undefined ? {} : { node }) };
}

/** The node of a volume whose PV has the name of its handle, as those have that Loam makes. */
async function nodeOf(
  api: KubeApi,
  volumeHandle: string,
  driverName: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!/^[a-z0-9][-a-z0-9.]*$/.test(volumeHandle)) return undefined;
  const volume = await lookUp(api, 'PersistentVolume', { name: volumeHandle }, signal);
  const csi = volume?.spec.csi;
  if (volume === undefined || csi?.driver !== driverName || csi.volumeHandle !== volumeHandle)
    return undefined;
  return topologyValueOf(volume);
}

/** A size that cannot be counted is the claim's, or the snapshot's, own fault. */
function judged(decide: () => SourceDecision): SourceDecision {
  try {
    return decide();
  } catch (error) {
    return { kind: 'not-ready', reason: messageOf(error) };
  }
}

function notReady(reason: string): FoundSource {
  return { kind: 'not-ready', reason };
}
