import * as annotations from '../claims/annotations.ts';
import type { PersistentVolumeClaim, Pod } from '../kube/objects.ts';

/** What binding and provisioning wrote on a claim, and what says of it where it was. */
const ofOldVolume = new Set([
  annotations.bindCompleted,
  'pv.kubernetes.io/bound-by-controller',
  annotations.selectedNode,
  annotations.storageProvisioner,
  annotations.betaStorageProvisioner,
  annotations.storageResizer,
  annotations.nodeExpansionNotRequired,
]);

/**
 * The claim as its owner asked for it once: everything but what came of its volume. A data source stays, so that a restore is restored
 * again; owners stay too, since the claim is as much theirs as before.
 *
 * @returns undefined for a claim of a pod's own (generic ephemeral volume): it goes with its pod, and the next pod brings its own
 */
export function recreatedClaim(claim: PersistentVolumeClaim): PersistentVolumeClaim | undefined {
  if (isOfPod(claim)) return undefined;
  const { namespace, name, labels = {}, annotations: noted = {}, ownerReferences } = claim.metadata;
  const { [annotations.nodeLabel]: _node, ...ownLabels } = labels;
  const ownNotes = Object.fromEntries(Object.entries(noted).filter(([key]) => !ofOldVolume.has(key)));
  const { volumeName: _volume, ...spec } = claim.spec;
  // a StatefulSet's controller may have made a pod that goes the owner
  const owners = ownerReferences?.filter(({ kind }) => kind !== 'Pod') ?? [];
  return {
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(Object.keys(ownLabels).length === 0 ? {} : { labels: ownLabels }),
      ...(Object.keys(ownNotes).length === 0 ? {} : { annotations: ownNotes }),
      ...(owners.length === 0 ? {} : { ownerReferences: owners }),
    },
    spec,
  };
}

function isOfPod({ metadata }: PersistentVolumeClaim): boolean {
  return (
    metadata.ownerReferences?.some(({ kind, controller }) => kind === 'Pod' && controller === true) ?? false
  );
}

/** Whether a pod that is not over has the claim among its volumes, or owns it. */
export function usesClaim(pod: Pod, { metadata }: PersistentVolumeClaim): boolean {
  if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return false;
  if (pod.metadata.namespace !== metadata.namespace) return false;
  const names = pod.spec?.volumes?.map(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName) ?? [];
  const isOwner = metadata.ownerReferences?.some(({ uid }) => uid === pod.metadata.uid) ?? false;
  return isOwner || names.includes(metadata.name);
}
