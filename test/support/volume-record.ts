import { volumeIdOf } from '../../src/model/volume-id.ts';
import type { VolumeRecord } from '../../src/volumes/records/record.ts';

/** The record of a directory volume that has its PV, to be varied. */
export function aRecord(id: string, how: Partial<VolumeRecord> = {}): VolumeRecord {
  return {
    schema: 1,
    name: id,
    state: 'ready',
    spec: {
      id: volumeIdOf(id),
      backend: 'directory',
      accessType: 'mount',
      sizeBytes: 1024n,
      provisioning: 'thin',
      limit: 'advisory',
    },
    parameters: {},
    onDelete: 'delete',
    scrub: 'zero',
    sharing: 'none',
    createdAtMs: 1,
    acknowledged: true,
    ...how,
  };
}
