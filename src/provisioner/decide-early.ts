import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import * as annotations from '../claims/annotations.ts';
import { classNameOf, selectedNodeOf } from '../claims/claim-facts.ts';
import { bindsImmediately, classAdmits } from '../claims/class-facts.ts';
import { readDataSource, type DataSource } from '../claims/data-source.ts';
import { fitsClaim, namesClaim, type OwnSide } from '../claims/volume-facts.ts';

export interface EarlyFacts {
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass | undefined;
  readonly own: OwnSide;
  readonly early: boolean;
  readonly immediateOnThisNode: boolean;
  /** a volume was already begun for this claim */
  readonly hasIntent: boolean;
  /** PVs of any class and driver whose claimRef names the claim's namespace and name */
  readonly claimVolumes: readonly PersistentVolume[];
  /** PVs of the claim's class that nobody has */
  readonly freeVolumes: readonly PersistentVolume[];
  /** the watches of claims, PVs and classes are open, none relisting */
  readonly watchesAreLive: boolean;
  /** of claims and PVs only those with this node's label are known */
  readonly watchesAreScoped?: boolean;
}

export type EarlyDecision =
  | { readonly kind: 'early' }
  | { readonly kind: 'not-early'; readonly because: EarlyObstacle; readonly reason: string };

export type EarlyObstacle = (typeof conditions)[number]['obstacle'];

const servedSources: ReadonlySet<DataSource['kind']> = new Set(['empty', 'snapshot', 'claim']);

const conditions = [
  {
    obstacle: 'switched-off',
    stands: ({ early }: EarlyFacts) => !early,
    reason: 'claims are taken after kube-controller-manager asks for them (--early=false)',
  },
  {
    obstacle: 'terminating',
    stands: ({ claim, hasIntent }: EarlyFacts) =>
      claim.metadata.deletionTimestamp !== undefined && !hasIntent,
    reason: 'the claim is being deleted',
  },
  {
    obstacle: 'not-pending',
    stands: ({ claim }: EarlyFacts) => claim.status?.phase !== 'Pending',
    reason: "the claim's phase is not Pending",
  },
  {
    obstacle: 'has-volume',
    stands: ({ claim }: EarlyFacts) => (claim.spec.volumeName ?? '') !== '',
    reason: 'the claim names its volume',
  },
  {
    obstacle: 'bind-completed',
    stands: ({ claim }: EarlyFacts) => has(claim, annotations.bindCompleted),
    reason: 'the claim was bound before',
  },
  {
    obstacle: 'selector',
    stands: ({ claim }: EarlyFacts) => claim.spec.selector !== undefined,
    reason: 'the claim selects its volume by labels',
  },
  {
    obstacle: 'other-provisioner',
    stands: ({ claim, own }: EarlyFacts) =>
      isOther(claim, annotations.storageProvisioner, own) ||
      isOther(claim, annotations.betaStorageProvisioner, own),
    reason: 'another provisioner was asked',
  },
  {
    obstacle: 'migrated',
    stands: ({ claim }: EarlyFacts) => has(claim, annotations.migratedTo),
    reason: 'the claim is migrated from another driver',
  },
  {
    // a populator or kube-controller-manager has to speak first; a snapshot or claim beside it is served at once
    obstacle: 'data-source',
    stands: ({ claim }: EarlyFacts) => !servedSources.has(readDataSource(claim).kind),
    reason: 'the claim asks for the data of an object that somebody else serves',
  },
  {
    obstacle: 'no-class',
    stands: ({ claim, storageClass }: EarlyFacts) =>
      storageClass === undefined || storageClass.metadata.name !== classNameOf(claim),
    reason: 'its StorageClass is not there',
  },
  {
    obstacle: 'class-terminating',
    stands: ({ storageClass }: EarlyFacts) => storageClass?.metadata.deletionTimestamp !== undefined,
    reason: 'its StorageClass is being deleted',
  },
  {
    obstacle: 'class-of-other',
    stands: ({ storageClass, own }: EarlyFacts) => storageClass?.provisioner !== own.driverName,
    reason: "its StorageClass is another provisioner's",
  },
  {
    obstacle: 'policy',
    stands: ({ storageClass }: EarlyFacts) => (storageClass?.reclaimPolicy ?? 'Delete') !== 'Delete',
    reason: 'its StorageClass does not say reclaimPolicy: Delete, and a volume made in vain would stay',
  },
  {
    obstacle: 'topology',
    stands: ({ storageClass, own }: EarlyFacts) =>
      storageClass === undefined || !classAdmits(storageClass, own.segments),
    reason: "its StorageClass's allowedTopologies leave this node out",
  },
  {
    obstacle: 'node',
    stands: (facts: EarlyFacts) => !isForThisNode(facts),
    reason: 'this node is not selected for it',
  },
  {
    // whether a PV is reserved for the claim, or a free one fits it, can only be told by who sees them all
    obstacle: 'scoped-watches',
    stands: ({ watchesAreScoped }: EarlyFacts) => watchesAreScoped === true,
    reason: 'this node does not see all volumes (--scoped): kube-controller-manager has to ask for it',
  },
  {
    obstacle: 'reserved-volume',
    stands: ({ claim, claimVolumes }: EarlyFacts) => claimVolumes.some((volume) => namesClaim(volume, claim)),
    reason: 'a PersistentVolume is reserved for it',
  },
  {
    obstacle: 'fitting-volume',
    stands: ({ claim, storageClass, freeVolumes }: EarlyFacts) =>
      storageClass !== undefined &&
      bindsImmediately(storageClass) &&
      freeVolumes.some((volume) => fitsClaim(volume, claim)),
    reason: 'a free PersistentVolume fits it',
  },
  {
    obstacle: 'stale-watches',
    stands: ({ watchesAreLive }: EarlyFacts) => !watchesAreLive,
    reason: 'what is known of claims, volumes and classes may be old',
  },
] as const satisfies readonly Condition[];

interface Condition {
  readonly obstacle: string;
  readonly stands: (facts: EarlyFacts) => boolean;
  readonly reason: string;
}

/**
 * Whether a claim may be provisioned before kube-controller-manager has asked for it.
 * Only where every condition holds is the outcome the same as waiting would have: any obstacle means waiting.
 */
export function decideEarly(facts: EarlyFacts): EarlyDecision {
  const found = conditions.find(({ stands }) => stands(facts));
  if (found === undefined) return { kind: 'early' };
  return { kind: 'not-early', because: found.obstacle, reason: found.reason };
}

function isForThisNode({ claim, storageClass, own, immediateOnThisNode }: EarlyFacts): boolean {
  const node = selectedNodeOf(claim);
  if (node !== undefined) return node === own.nodeName;
  return storageClass !== undefined && bindsImmediately(storageClass) && immediateOnThisNode;
}

function has(claim: PersistentVolumeClaim, annotation: string): boolean {
  return claim.metadata.annotations?.[annotation] !== undefined;
}

function isOther(claim: PersistentVolumeClaim, annotation: string, own: OwnSide): boolean {
  const value = claim.metadata.annotations?.[annotation];
  return value !== undefined && value !== own.driverName;
}
