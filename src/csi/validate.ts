import { isAbsolute } from 'node:path';
import { StorageError } from '../model/errors.ts';
import { isEntryId, type EntryId } from '../model/snapshot-id.ts';
import { isVolumeId, type VolumeId } from '../model/volume-id.ts';

/** CSI's general limits, "Size Limits": 128 bytes for a text, 4 KiB for a map or a list. */
const maxTextBytes = 128;
const maxMapBytes = 4096;
/** PATH_MAX with its NUL */
const maxPathBytes = 4095;
/** Control characters that CSI forbids in names. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
const forbiddenInName = /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]/;

/** A refused request: every message begins with the field's name as the proto has it. */
export function invalidField(field: string, problem: string): StorageError {
  return new StorageError('invalid-argument', `${field} ${problem}`, { facts: { field } });
}

/** A field that has to be set, within CSI's limit. @throws StorageError 'invalid-argument' */
function requiredText(field: string, value: string | undefined): string {
  if (value === undefined || value === '') throw invalidField(field, 'is missing');
  return optionalText(field, value);
}

/** A field that may be empty, within CSI's limit. */
export function optionalText(field: string, value: string | undefined): string {
  const bytes = Buffer.byteLength(value ?? '');
  if (bytes > maxTextBytes) throw invalidField(field, `has ${bytes} bytes; CSI allows ${maxTextBytes}`);
  return value ?? '';
}

/** The name of a volume or a snapshot: any Unicode without control characters. */
export function givenName(value: string | undefined): string {
  const name = requiredText('name', value);
  if (forbiddenInName.test(name)) throw invalidField('name', 'contains control characters');
  return name;
}

/**
 * A volume id of ours. What cannot be one (`..`, a slash, a NUL, a capital) was never given out by CreateVolume, so it is
 * refused here on every call instead of being looked up anywhere.
 */
export function volumeId(value: string | undefined, field = 'volume_id'): VolumeId {
  const id = requiredText(field, value);
  if (isVolumeId(id)) return id;
  throw impossible(field, id, 'a volume');
}

/** The same for snapshots. A volume's id is one of no snapshot, which is for the driver to say. */
export function snapshotId(value: string | undefined, field = 'snapshot_id'): EntryId {
  const id = requiredText(field, value);
  if (isEntryId(id)) return id;
  throw impossible(field, id, 'a snapshot');
}

function impossible(field: string, id: string, what: string): StorageError {
  return invalidField(
    field,
    `${JSON.stringify(id)} cannot be ${what} of this driver; ids are letters a-z, digits, dots and dashes`,
  );
}

/** A path of the caller's choosing: absolute, without NUL or a step upwards. Where it leads is checked where it is used. */
export function absolutePath(field: string, value: string | undefined): string {
  const path = anyPath(field, value);
  if (!isAbsolute(path)) throw invalidField(field, `${JSON.stringify(path)} is not absolute`);
  if (path.split('/').includes('..'))
    throw invalidField(field, `${JSON.stringify(path)} steps upwards by ..`);
  return path;
}

/** A path that is only looked up: a relative one names nothing that we published, and is for the driver to say so. */
export function anyPath(field: string, value: string | undefined): string {
  if (value === undefined || value === '') throw invalidField(field, 'is missing');
  const bytes = Buffer.byteLength(value);
  if (bytes > maxPathBytes)
    throw invalidField(field, `has ${bytes} bytes; a path has at most ${maxPathBytes}`);
  if (value.includes('\0')) throw invalidField(field, 'contains a NUL');
  return value;
}

/** A map within CSI's limit for all its keys and values together. */
export function boundedMap(
  field: string,
  map: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  boundedTexts(field, Object.entries(map).flat());
  return map;
}

/** A list within CSI's limit for all its texts together. */
export function boundedTexts(field: string, texts: readonly string[]): readonly string[] {
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > maxMapBytes) throw invalidField(field, `has ${bytes} bytes in all; CSI allows ${maxMapBytes}`);
  return texts;
}

/** How many at most a page is to have. */
export function pageSize(maxEntries = 0): number {
  if (maxEntries < 0) throw invalidField('max_entries', `is negative: ${maxEntries}`);
  return maxEntries;
}
