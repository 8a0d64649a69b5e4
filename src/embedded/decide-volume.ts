import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { boundByController, type Notice } from './decide-claim.ts';
import { modesDiffer } from './match-volume.ts';

/** What the binder does about a PV now. */
export type VolumeStep =
  | {
      readonly kind: 'set-phase';
      readonly phase: 'Available' | 'Bound' | 'Released' | 'Failed';
      readonly message: string;
      readonly notice?: Notice;
    }
  /** its claim has not been bound yet: that is the claim's step */
  | { readonly kind: 'sync-claim' }
  /** the claim took another PV: `ref` forgets the claim, `uid` keeps the user's reservation */
  | { readonly kind: 'unbind'; readonly clear: 'ref' | 'uid' }
  | { readonly kind: 'notice'; readonly notice: Notice }
  | { readonly kind: 'nothing' };

/**
 * What kube-controller-manager's PV controller would do with this PV.
 *
 * @param claim the claim that claimRef names, if there is one by that name
 */
export function decideVolume(volume: PersistentVolume, claim: PersistentVolumeClaim | undefined): VolumeStep {
  const { claimRef } = volume.spec;
  if (claimRef === undefined || claimRef === null || (claimRef.uid ?? '') === '')
    return setPhase('Available');
  if (claim === undefined || claim.metadata.uid !== claimRef.uid) return release(volume);
  const boundTo = claim.spec.volumeName ?? '';
  if (boundTo === volume.metadata.name) return setPhase('Bound');
  if (boundTo === '') return modesDiffer(volume, claim) ? mismatch(claim) : { kind: 'sync-claim' };
  const annotations = volume.metadata.annotations ?? {};
  const isProvisioned = annotations['pv.kubernetes.io/provisioned-by'] !== undefined;
  if (isProvisioned && volume.spec.persistentVolumeReclaimPolicy === 'Delete') return release(volume);
  return { kind: 'unbind', clear: annotations[boundByController] === undefined ? 'uid' : 'ref' };
}

/** Released, and then the policy: Delete is the external provisioner's, Recycle has no plugin for CSI. A Failed PV stays Failed. */
function release(volume: PersistentVolume): VolumeStep {
  const phase = volume.status?.phase;
  if (phase === 'Failed') return { kind: 'nothing' };
  if (phase !== 'Released') return setPhase('Released');
  if (volume.spec.persistentVolumeReclaimPolicy !== 'Recycle') return { kind: 'nothing' };
  const message = 'No recycler plugin found for the volume!';
  return {
    kind: 'set-phase',
    phase: 'Failed',
    message,
    notice: { type: 'Warning', reason: 'VolumeFailedRecycle', message },
  };
}

function mismatch(claim: PersistentVolumeClaim): VolumeStep {
  const message = `Cannot bind PersistentVolume to requested PersistentVolumeClaim "${claim.metadata.name}" due to incompatible volumeMode.`;
  return { kind: 'notice', notice: { type: 'Warning', reason: 'VolumeMismatch', message } };
}

function setPhase(phase: 'Available' | 'Bound' | 'Released'): VolumeStep {
  return { kind: 'set-phase', phase, message: '' };
}
