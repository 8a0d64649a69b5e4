import { fsTypes } from '../../model/class-parameters.ts';
import { backendNames, type ClaimRef, type DiskPlace, type VolumeSpec } from '../../model/volume.ts';
import type { FieldReader } from './field-reader.ts';

/** A volume's shape as a record's file has it: bytes as decimal text, the mode as octal text. */
export function specFields({ sizeBytes, mode, ...spec }: VolumeSpec): Readonly<Record<string, unknown>> {
  return {
    ...spec,
    sizeBytes: sizeBytes.toString(),
    ...(mode === undefined ? {} : { mode: mode.toString(8).padStart(4, '0') }),
  };
}

/** @throws StorageError 'data-loss' as the reader */
export function readSpec(fields: FieldReader): VolumeSpec {
  const fsType = fields.optionalOneOf('fsType', fsTypes);
  const mode = fields.optionalOctal('mode');
  const uid = fields.optionalNumber('uid');
  const gid = fields.optionalNumber('gid');
  const backend = fields.oneOf('backend', backendNames);
  return {
    id: fields.volumeId('id'),
    backend,
    accessType: fields.oneOf('accessType', ['mount', 'block']),
    sizeBytes: fields.bytes('sizeBytes'),
    ...(fsType === undefined ? {} : { fsType }),
    provisioning: fields.oneOf('provisioning', ['thin', 'thick']),
    limit: fields.oneOf('limit', ['enforced', 'advisory']),
    ...(mode === undefined ? {} : { mode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(backend === 'disk' ? { disk: readDisk(fields.object('disk')) } : {}),
  };
}

function readDisk(fields: FieldReader): DiskPlace {
  return { entry: fields.plainName('entry'), type: fields.text('type'), uuid: fields.text('uuid') };
}

/** The claim that a record names, if it does. @throws StorageError 'data-loss' as the reader */
export function readClaim(fields: FieldReader): ClaimRef | undefined {
  const claim = fields.optionalObject('claim');
  if (claim === undefined) return undefined;
  return { namespace: claim.text('namespace'), name: claim.text('name'), uid: claim.text('uid') };
}
