import type { DriverVolume } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { Segments } from '../model/topology.ts';
import { backendKey, limitKey, poolUuidKey } from '../model/volume.ts';
import type { VolumeRecord } from './records/record.ts';

/** The facts that go into the PV's volume attributes. */
export function volumeContextOf(record: VolumeRecord, poolUuid: string): Readonly<Record<string, string>> {
  return { [poolUuidKey]: poolUuid, [backendKey]: record.spec.backend, [limitKey]: record.spec.limit };
}

/** The volume as CSI tells it. */
export function driverVolumeOf(record: VolumeRecord, poolUuid: string, topology: Segments): DriverVolume {
  return {
    volumeId: record.spec.id,
    capacityBytes: record.spec.sizeBytes,
    volumeContext: volumeContextOf(record, poolUuid),
    accessibleTopology: [topology],
    ...(record.source === undefined ? {} : { contentSource: record.source }),
  };
}

/** The pool's uuid that a caller's volume attributes name; unset where they name none. */
export function poolUuidOf(context: Readonly<Record<string, string>> | undefined): string | undefined {
  const uuid = context?.[poolUuidKey];
  return uuid === '' ? undefined : uuid;
}

/**
 * Whether a volume that was found is the one that the PV means: after a disk was replaced, or a node's name given
 * to another machine, the same id may stand for other data.
 *
 * @throws StorageError 'wrong-pool' naming both pools
 */
export function checkPoolUuid(
  volumeId: string,
  found: { readonly name: string; readonly uuid: string },
  expected: string | undefined,
): void {
  if (expected === undefined || expected === found.uuid) return;
  throw new StorageError(
    'wrong-pool',
    `volume ${volumeId} lies in pool ${found.name} (${found.uuid}), its PV names pool ${expected}; ` +
      'mount the disk that the PV means, or remove the PV',
  );
}
