import type {
  CsiStorageCapacity,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../kube/objects.ts';
import { parseQuantity } from '../model/quantity.ts';
import { noProvisioner, selectedNode } from './decide-claim.ts';
import { admitsNode, classNameOf, findBestMatch, requestOf } from './match-volume.ts';

/** What the scheduler does about a pod now. */
export type Placement =
  | { readonly kind: 'assign'; readonly node: string }
  /** the node is chosen; its claims get a PV that is there, or the node's name to be provisioned on */
  | {
      readonly kind: 'prepare';
      readonly node: string;
      readonly reserve: readonly {
        readonly claim: PersistentVolumeClaim;
        readonly volume: PersistentVolume;
      }[];
      readonly select: readonly PersistentVolumeClaim[];
    }
  | { readonly kind: 'wait'; readonly message: string };

export interface PlacementFacts {
  readonly nodes: readonly Node[];
  /** in the pod's order; undefined where there is no such claim */
  readonly claims: readonly { readonly name: string; readonly claim: PersistentVolumeClaim | undefined }[];
  readonly volumes: readonly PersistentVolume[];
  readonly classes: (name: string) => StorageClass | undefined;
  /** those of one class; none at all: the driver publishes no capacity and nothing is checked */
  readonly capacities: (className: string) => readonly CsiStorageCapacity[];
}

/** The VolumeBinding part of kube-scheduler for one pod, over nodes that otherwise all suit it. */
export function decidePlacement(facts: PlacementFacts): Placement {
  const absent = facts.claims.find(({ claim }) => claim === undefined);
  if (absent !== undefined) return wait(`persistentvolumeclaim "${absent.name}" not found`);
  const claims = facts.claims.flatMap(({ claim }) => (claim === undefined ? [] : [claim]));
  const leaving = claims.find(({ metadata }) => metadata.deletionTimestamp !== undefined);
  if (leaving !== undefined) return wait(`persistentvolumeclaim "${leaving.metadata.name}" is being deleted`);
  const immediate = claims.some((claim) => !isBound(claim) && !waitsForConsumer(claim, facts));
  if (immediate) return wait('pod has unbound immediate PersistentVolumeClaims');
  const reasons = new Set<string>();
  for (const node of facts.nodes) {
    if (node.spec?.unschedulable === true) continue;
    const found = placeOn(node, claims, facts);
    if (typeof found !== 'string') return found;
    reasons.add(found);
  }
  return wait(
    `0/${facts.nodes.length} nodes are available: ${[...reasons].join(', ') || 'no node is schedulable'}`,
  );
}

/** A plan for this node, or why it cannot be the one. */
function placeOn(
  node: Node,
  claims: readonly PersistentVolumeClaim[],
  facts: PlacementFacts,
): Placement | string {
  const place = { name: node.metadata.name, labels: node.metadata.labels ?? {} };
  const free = new Map(facts.volumes.map((volume) => [volume.metadata.name, volume]));
  const reserve: { claim: PersistentVolumeClaim; volume: PersistentVolume }[] = [];
  const select: PersistentVolumeClaim[] = [];
  let areAllBound = true;
  for (const claim of claims) {
    if (isBound(claim)) {
      const volume = facts.volumes.find(({ metadata }) => metadata.name === claim.spec.volumeName);
      if (volume !== undefined && !admitsNode(volume, place))
        return 'the volume of a claim is on another node';
      continue;
    }
    areAllBound = false;
    const chosen = claim.metadata.annotations?.[selectedNode];
    if (chosen !== undefined && chosen !== place.name) return 'a claim is being provisioned on another node';
    const volume = findBestMatch(free.values(), claim, { onlyReserved: false, node: place });
    if (volume !== undefined) {
      free.delete(volume.metadata.name);
      reserve.push({ claim, volume });
    } else {
      const refusal = provisionRefusal(claim, place.labels, facts);
      if (refusal !== undefined) return refusal;
      select.push(claim);
    }
  }
  if (areAllBound) return { kind: 'assign', node: place.name };
  return { kind: 'prepare', node: place.name, reserve, select };
}

function provisionRefusal(
  claim: PersistentVolumeClaim,
  labels: Readonly<Record<string, string>>,
  facts: PlacementFacts,
): string | undefined {
  const storageClass = facts.classes(classNameOf(claim));
  if (storageClass === undefined || storageClass.provisioner === noProvisioner)
    return "didn't find available persistent volumes to bind";
  const terms = storageClass.allowedTopologies ?? [];
  const isAllowed = terms.some((term) =>
    (term.matchLabelExpressions ?? []).every(({ key, values }) => values.includes(labels[key] ?? '')),
  );
  if (terms.length > 0 && !isAllowed) return "node is outside the class's allowedTopologies";
  const capacities = facts.capacities(storageClass.metadata.name);
  if (capacities.length === 0) return undefined;
  const isEnough = capacities.some((capacity) => {
    const selector = capacity.nodeTopology?.matchLabels;
    if (selector === undefined || !Object.entries(selector).every(([key, value]) => labels[key] === value))
      return false;
    return parseQuantity(capacity.maximumVolumeSize ?? capacity.capacity ?? '0') >= requestOf(claim);
  });
  return isEnough ? undefined : 'not enough free storage';
}

function isBound(claim: PersistentVolumeClaim): boolean {
  return claim.status?.phase === 'Bound' && (claim.spec.volumeName ?? '') !== '';
}

function waitsForConsumer(claim: PersistentVolumeClaim, facts: PlacementFacts): boolean {
  return facts.classes(classNameOf(claim))?.volumeBindingMode === 'WaitForFirstConsumer';
}

function wait(message: string): Placement {
  return { kind: 'wait', message };
}
