import { accessModes } from '../../model/access-mode.ts';
import { FieldReader } from '../records/field-reader.ts';
import type { Publication } from './publications.ts';

/** A publication as its file has it; the flags as a map, so that one reader serves all files. */
export function formatPublication(publication: Publication): string {
  const { mountFlags, fsType, ...rest } = publication;
  const written = {
    ...rest,
    ...(fsType === '' ? {} : { fsType }),
    mountFlags: Object.fromEntries(mountFlags.map((flag) => [flag, ''])),
  };
  return `${JSON.stringify(written)}\n`;
}

/** @throws StorageError 'data-loss' for what is none; its file is then forgotten, mountinfo tells the rest */
export function parsePublication(text: string, path: string): Publication {
  const fields = FieldReader.ofJson(text, path);
  const kind = fields.oneOf('kind', ['stage', 'publish']);
  const accessType = fields.oneOf('accessType', ['mount', 'block']);
  return {
    kind,
    volumeId: fields.volumeId('volumeId'),
    poolUuid: fields.text('poolUuid'),
    path: fields.text('path'),
    readonly: fields.truth('readonly'),
    accessMode: fields.oneOf('accessMode', accessModes),
    accessType,
    fsType: fields.optionalText('fsType') ?? '',
    mountFlags: Object.keys(fields.object('mountFlags').texts()),
    // one of an earlier release does not say so
    mountsNothing: fields.optionalTruth('mountsNothing') ?? (kind === 'stage' && accessType === 'block'),
  };
}
