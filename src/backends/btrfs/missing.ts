import { join } from 'node:path';
import { StorageError } from '../../model/errors.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { dataName, type VolumePlace } from '../backend.ts';

export function missing(place: VolumePlace, spec: VolumeSpec): StorageError {
  return new StorageError(
    'data-loss',
    `the subvolume ${join(place.path, dataName)} of volume ${spec.id} is gone; restore it or delete the volume`,
  );
}
