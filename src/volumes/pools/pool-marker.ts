import { randomUUID } from 'node:crypto';
import type { Directory } from '../../host/directory.ts';
import type { FileSystemIdentity } from '../../host/file-system-identity.ts';
import { readIfPresent, temporaryPrefix, writeDurably } from '../../host/durable-file.ts';
import { StorageError } from '../../model/errors.ts';
import { FieldReader } from '../records/field-reader.ts';

/** Name of the marker in a pool's root. */
export const markerName = 'pool.json';

/** What makes a folder a pool: without it the disk behind the path may just not be mounted. */
export interface PoolMarker {
  readonly schema: 1;
  readonly uuid: string;
  readonly createdAt: string;
  /** which file system it lies on: a copy of it elsewhere is no pool. Unset: not known, or taken out to accept another one */
  readonly fileSystem?: FileSystemIdentity;
}

const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** mkfs.ext4 leaves this one; a fresh disk is as good as empty. */
const namesOfFreshDisk = ['lost+found'];

/** What is to be done with a configured folder. */
export type MarkerDecision =
  | { readonly kind: 'use'; readonly marker: PoolMarker }
  | { readonly kind: 'create' }
  | { readonly kind: 'refuse'; readonly why: string };

/** Pure: whether a folder is a pool, may become one, or is left alone. */
export function decideMarker(facts: {
  readonly path: string;
  readonly marker: PoolMarker | undefined;
  /** uuid of a pool seen at this path before */
  readonly knownUuid: string | undefined;
  readonly names: readonly string[];
  readonly initialise: boolean;
  /** the one that the folder lies on; unset: not known */
  readonly fileSystem?: FileSystemIdentity | undefined;
}): MarkerDecision {
  const { path, marker, knownUuid } = facts;
  if (marker !== undefined) {
    const why = whyCopied(path, marker, facts.fileSystem);
    return why === undefined ? { kind: 'use', marker } : refuse(why);
  }
  if (knownUuid !== undefined) {
    return refuse(
      `${path} was pool ${knownUuid} and has no ${markerName} now: its disk is probably not mounted; ` +
        'mount it, or take the entry out of known-pools.json if the pool is gone for good',
    );
  }
  // A crash may have left the marker's unfinished file.
  const others = facts.names.filter(
    (name) => !namesOfFreshDisk.includes(name) && !name.startsWith(temporaryPrefix),
  );
  if (others.length > 0) {
    const some = others.slice(0, 3).join(', ');
    return refuse(`${path} is no pool and not empty (${some}); name an empty folder, or an existing pool's`);
  }
  if (!facts.initialise) {
    return refuse(`${path} is empty and no pool yet; mount its disk, or set initialise to make it a pool`);
  }
  return { kind: 'create' };
}

/** A backup that was played back into an empty mount point, say: creates would fill the disk below, and reads find old data. */
function whyCopied(
  path: string,
  { uuid, fileSystem: made }: PoolMarker,
  found: FileSystemIdentity | undefined,
): string | undefined {
  if (made === undefined || found === undefined) return undefined;
  // one that does not tell its uuid now, and did when the pool was made, is another one
  if (made.type === found.type && (made.uuid === undefined || made.uuid === found.uuid)) return undefined;
  return (
    `${path} lies on ${describeFileSystem(found)}, and its ${markerName} says that pool ${uuid} is on ${describeFileSystem(made)}: ` +
    'it is a copy, and the disk itself is probably not mounted; mount it, or, if the pool was moved here on purpose, ' +
    `take the field fileSystem out of ${path}/${markerName}`
  );
}

function describeFileSystem({ type, uuid }: FileSystemIdentity): string {
  return uuid === undefined ? `a file system (${type}) whose uuid cannot be read` : `the ${type} ${uuid}`;
}

/** @throws StorageError 'data-loss' where it is there and cannot be read */
export async function readMarker(root: Directory): Promise<PoolMarker | undefined> {
  const text = await readIfPresent(root, markerName);
  if (text === undefined) return undefined;
  const path = `${root.realPath}/${markerName}`;
  const fields = FieldReader.ofJson(text, path);
  const uuid = fields.text('uuid');
  const schema = fields.number('schema');
  if (schema !== 1)
    throw new StorageError('data-loss', `${path} has schema ${schema}, this version reads 1; upgrade loam`);
  if (!uuidPattern.test(uuid))
    throw new StorageError(
      'data-loss',
      `${path}: uuid ${JSON.stringify(uuid)} is not one; restore it, as PersistentVolumes of the pool say it in loam.dev/pool-uuid`,
    );
  const place = fields.optionalObject('fileSystem');
  const placeUuid = place?.optionalText('uuid');
  return {
    schema: 1,
    uuid,
    createdAt: fields.text('createdAt'),
    ...(place === undefined
      ? {}
      : {
          fileSystem: { type: place.text('type'), ...(placeUuid === undefined ? {} : { uuid: placeUuid }) },
        }),
  };
}

/** Makes a folder a pool. Durable when it resolves; a repeat after a crash finds the marker or an empty folder. */
export async function createMarker(
  root: Directory,
  nowMs: number,
  fileSystem?: FileSystemIdentity,
): Promise<PoolMarker> {
  const marker: PoolMarker = {
    schema: 1,
    uuid: randomUUID(),
    createdAt: new Date(nowMs).toISOString(),
    ...placeOf(fileSystem),
  };
  await writeMarker(root, marker);
  return marker;
}

/** Lets a marker of an older version, or of a pool that was moved on purpose, say where it lies. */
export async function placeMarker(
  root: Directory,
  marker: PoolMarker,
  fileSystem: FileSystemIdentity | undefined,
): Promise<void> {
  const place = placeOf(fileSystem);
  if (marker.fileSystem === undefined && place.fileSystem !== undefined)
    await writeMarker(root, { ...marker, ...place });
}

/** Only one that has a uuid tells itself from others of its type. */
function placeOf(fileSystem: FileSystemIdentity | undefined): Pick<PoolMarker, 'fileSystem'> {
  return fileSystem?.uuid === undefined ? {} : { fileSystem };
}

async function writeMarker(root: Directory, marker: PoolMarker): Promise<void> {
  await writeDurably(root, markerName, `${JSON.stringify(marker, undefined, 2)}\n`, { mode: 0o600 });
}

function refuse(why: string): MarkerDecision {
  return { kind: 'refuse', why };
}
