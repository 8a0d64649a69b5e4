import type { StorageClass } from '../../kube/objects.ts';

/** Whether a class of this driver wants volumes that lost their PV to be found by their claim's name. */
export function adoptsByName(
  storageClass: StorageClass | undefined,
  driverName: string,
): storageClass is StorageClass {
  return (
    storageClass?.provisioner === driverName &&
    storageClass.parameters?.['adopt'] === 'by-name' &&
    storageClass.metadata.deletionTimestamp === undefined
  );
}
