import type { PersistentVolumeClaim, TypedReference } from '../kube/objects.ts';
import { parseQuantity } from '../model/quantity.ts';
import type { ClaimRef } from '../model/volume.ts';
import * as annotations from './annotations.ts';

/** The class's name: the beta annotation, even an empty one, wins over the field. '' = no class. */
export function classNameOf(claim: PersistentVolumeClaim): string {
  return claim.metadata.annotations?.[annotations.betaStorageClass] ?? claim.spec.storageClassName ?? '';
}

/** Whom kube-controller-manager has called to provision this claim; undefined: nobody yet. */
export function calledProvisioner(claim: PersistentVolumeClaim): string | undefined {
  const noted = claim.metadata.annotations;
  return noted?.[annotations.storageProvisioner] ?? noted?.[annotations.betaStorageProvisioner];
}

/** Whether kube-controller-manager has called this driver for the claim. */
export function isCalled(claim: PersistentVolumeClaim, driverName: string): boolean {
  return (
    calledProvisioner(claim) === driverName ||
    claim.metadata.annotations?.[annotations.migratedTo] === driverName
  );
}

/** The node that has to provide the volume; an empty annotation counts as none. */
export function selectedNodeOf(claim: PersistentVolumeClaim): string | undefined {
  const node = claim.metadata.annotations?.[annotations.selectedNode];
  return node === '' ? undefined : node;
}

/** Where the volume's first content comes from; the API server mirrors the two fields. */
export function dataSourceOf(claim: PersistentVolumeClaim): TypedReference | undefined {
  return claim.spec.dataSource ?? claim.spec.dataSourceRef;
}

/** Bytes that the claim asks for, rounded up. 0n where it names no size. */
export function requestedBytes(claim: PersistentVolumeClaim): bigint {
  const text = claim.spec.resources?.requests?.['storage'];
  return text === undefined ? 0n : parseQuantity(text);
}

/** The claim's uid; '' cannot be on an object that an API server gave out. */
export function uidOf(object: { readonly metadata: { readonly uid?: string } }): string {
  return object.metadata.uid ?? '';
}

export function claimRefOf(claim: PersistentVolumeClaim): ClaimRef {
  return { namespace: claim.metadata.namespace ?? '', name: claim.metadata.name, uid: uidOf(claim) };
}

/** `namespace/name`, as messages say it and stores index it. */
export function claimKey(claim: { readonly namespace?: string; readonly name?: string }): string {
  return `${claim.namespace ?? ''}/${claim.name ?? ''}`;
}

/** Name of the PV, and of the CSI volume, that belongs to a claim: the same at every attempt. */
export function volumeNameFor(claimUid: string): string {
  return `pvc-${claimUid}`;
}

/** What every log line about a claim carries. */
export function logFacts(claim: ClaimRef): object {
  return { claim: claimKey(claim), claimUid: claim.uid };
}
