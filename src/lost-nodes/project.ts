import * as annotations from '../claims/annotations.ts';
import { isOfDriver } from '../claims/volume-facts.ts';
import type { CsiNode, Node, ObjectMeta, PersistentVolume } from '../kube/objects.ts';

/** Of each object what decides whether a node is lost, and no more: the rest is read live before anything follows from it. */

const kept = [annotations.onNodeLoss, annotations.nodeLostSince, annotations.poolMissing];

/** PVs that ask for nothing keep their name: nearly all do in nearly every cluster. */
export function projectVolume(driverName: string): (volume: PersistentVolume) => PersistentVolume {
  return (volume) => {
    const { metadata, spec, status } = volume;
    const noted = Object.entries(metadata.annotations ?? {}).filter(([key]) => kept.includes(key));
    const isOurs = spec.csi?.driver === driverName && isOfDriver(volume, driverName);
    const { [annotations.onNodeLoss]: policy = 'keep', [annotations.nodeLostSince]: mark } =
      metadata.annotations ?? {};
    const asks = policy !== 'keep' || mark !== undefined;
    if (!isOurs || !asks) return { metadata: keptMeta(metadata), spec: {} };
    const { deletionTimestamp } = metadata;
    const { nodeAffinity, persistentVolumeReclaimPolicy } = spec;
    return {
      metadata: {
        ...keptMeta(metadata),
        annotations: Object.fromEntries(noted),
        ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      },
      spec: {
        ...(nodeAffinity === undefined ? {} : { nodeAffinity }),
        // news of it wake who waits for them
        ...(persistentVolumeReclaimPolicy === undefined ? {} : { persistentVolumeReclaimPolicy }),
      },
      status: { phase: status?.phase ?? 'Pending' },
    };
  };
}

/** Whether a projected PV says anything of what is to become of it, or bears our mark. */
export function asksForSomething({ metadata }: PersistentVolume): boolean {
  return metadata.annotations !== undefined;
}

export function projectNode({ metadata, status }: Node): Node {
  const ready = status?.conditions?.filter(({ type }) => type === 'Ready') ?? [];
  const conditions = ready.map(({ type, status: is, lastTransitionTime: at }) => ({
    type,
    status: is,
    ...(at === undefined ? {} : { lastTransitionTime: at }),
  }));
  return { metadata: keptMeta(metadata), status: { conditions } };
}

export function projectCsiNode(driverName: string): (csiNode: CsiNode) => CsiNode {
  return ({ metadata, spec }) => ({
    metadata: keptMeta(metadata),
    spec: {
      drivers: (spec.drivers ?? [])
        .filter(({ name }) => name === driverName)
        .map(({ name, nodeID }) => ({ name, nodeID })),
    },
  });
}

function keptMeta({ name, uid, resourceVersion }: ObjectMeta): ObjectMeta {
  return {
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}
