import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import { classNameOf, findBestMatch, isMeantFor, mismatchOf } from './match-volume.ts';

export const bindCompleted = 'pv.kubernetes.io/bind-completed';
export const boundByController = 'pv.kubernetes.io/bound-by-controller';
export const selectedNode = 'volume.kubernetes.io/selected-node';
/** Provisioner of classes that only hold static PVs. */
export const noProvisioner = 'kubernetes.io/no-provisioner';

export interface Notice {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** What the binder does about a claim now. */
export type ClaimStep =
  | { readonly kind: 'bind'; readonly volume: PersistentVolume }
  /** the claim's volume is gone or somebody else's: its last phase */
  | { readonly kind: 'lose'; readonly notice: Notice }
  /** writes both storage-provisioner annotations, for whoever provisions for this name */
  | { readonly kind: 'ask-provisioner'; readonly provisioner: string; readonly notice: Notice }
  | { readonly kind: 'wait'; readonly notice?: Notice };

export interface ClaimFacts {
  /** at least the PVs reserved for this claim and the free ones */
  readonly volumes: () => Iterable<PersistentVolume>;
  /** the PV that `spec.volumeName` names, if it exists */
  readonly named: PersistentVolume | undefined;
  readonly storageClass: StorageClass | undefined;
  /** pods that use the claim and are on no node yet */
  readonly waitingPods: () => readonly string[];
}

/** What kube-controller-manager's PV controller would do with this claim. */
export function decideClaim(claim: PersistentVolumeClaim, facts: ClaimFacts): ClaimStep {
  if (claim.metadata.annotations?.[bindCompleted] !== undefined) return decideBound(claim, facts);
  return (claim.spec.volumeName ?? '') === '' ? decideUnnamed(claim, facts) : decideNamed(claim, facts);
}

function decideBound(claim: PersistentVolumeClaim, { named }: ClaimFacts): ClaimStep {
  if ((claim.spec.volumeName ?? '') === '') {
    return lost(
      'ClaimLost',
      'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!',
    );
  }
  if (named === undefined)
    return lost('ClaimLost', 'Bound claim has lost its PersistentVolume. Data on the volume is lost!');
  const { claimRef } = named.spec;
  if (claimRef === undefined || claimRef === null || claimRef.uid === claim.metadata.uid)
    return { kind: 'bind', volume: named };
  return lost('ClaimMisbound', 'Two claims are bound to the same volume, this one is bound incorrectly');
}

function decideNamed(claim: PersistentVolumeClaim, { named }: ClaimFacts): ClaimStep {
  if (named === undefined) return { kind: 'wait' };
  const { name } = named.metadata;
  if (named.spec.claimRef === undefined || named.spec.claimRef === null) {
    const mismatch = mismatchOf(named, claim);
    if (mismatch === undefined) return { kind: 'bind', volume: named };
    return wait('Warning', 'VolumeMismatch', `Cannot bind to requested volume "${name}": ${mismatch}`);
  }
  if (isMeantFor(named, claim)) return { kind: 'bind', volume: named };
  return wait('Warning', 'FailedBinding', `volume "${name}" already bound to a different claim.`);
}

function decideUnnamed(claim: PersistentVolumeClaim, facts: ClaimFacts): ClaimStep {
  const waitsForPod = facts.storageClass?.volumeBindingMode === 'WaitForFirstConsumer';
  const volume = findBestMatch(facts.volumes(), claim, { onlyReserved: waitsForPod });
  if (volume !== undefined) return { kind: 'bind', volume };
  if (waitsForPod && claim.metadata.annotations?.[selectedNode] === undefined)
    return waitForPod(facts.waitingPods());
  if (classNameOf(claim) === '') {
    return wait(
      'Normal',
      'FailedBinding',
      'no persistent volumes available for this claim and no storage class is set',
    );
  }
  return provision(claim, facts.storageClass);
}

function waitForPod(pods: readonly string[]): ClaimStep {
  if (pods.length === 0) {
    return wait('Normal', 'WaitForFirstConsumer', 'waiting for first consumer to be created before binding');
  }
  return wait('Normal', 'WaitForPodScheduled', `waiting for pod(s) ${pods.join(', ')} to be scheduled`);
}

function provision(claim: PersistentVolumeClaim, storageClass: StorageClass | undefined): ClaimStep {
  if (storageClass === undefined) {
    return wait(
      'Warning',
      'ProvisioningFailed',
      `storageclass.storage.k8s.io "${classNameOf(claim)}" not found`,
    );
  }
  const { provisioner } = storageClass;
  if (provisioner === noProvisioner) {
    return wait(
      'Normal',
      'FailedBinding',
      'no persistent volumes available for this claim and no storage class is set',
    );
  }
  const message = `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator.`;
  return {
    kind: 'ask-provisioner',
    provisioner,
    notice: { type: 'Normal', reason: 'ExternalProvisioning', message },
  };
}

function lost(reason: string, message: string): ClaimStep {
  return { kind: 'lose', notice: { type: 'Warning', reason, message } };
}

function wait(type: Notice['type'], reason: string, message: string): ClaimStep {
  return { kind: 'wait', notice: { type, reason, message } };
}
