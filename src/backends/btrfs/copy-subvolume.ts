import type { Directory } from '../../host/directory.ts';
import { removeIfEmpty } from '../../host/entries.ts';
import {
  nestedSubvolumes,
  openBelow,
  openNested,
  type NestedSubvolume,
} from '../../host/nested-subvolumes.ts';
import { setSubvolumeReadonly, snapshotSubvolume } from '../../host/subvolumes.ts';
import { whileOpen } from '../../host/while-open.ts';
import { StorageError } from '../../model/errors.ts';
import type { Consistency } from '../../model/volume.ts';
import type { CopySource, CopyWish, VolumePlace } from '../backend.ts';
import { finishUnder } from './create-subvolume.ts';
import { unfinishedName } from './discard-subvolumes.ts';
import { missing } from './missing.ts';
import { openData, type VolumeData } from './volume-data.ts';

export interface CopyOptions {
  readonly readonly: boolean;
  readonly wish: Pick<CopyWish, 'allowsLoose' | 'mayBegin'>;
  readonly signal: AbortSignal;
  /** the last thing before the copy gets its name */
  readonly finish?: (parent: Directory, copy: Directory, hasNested: boolean) => Promise<void>;
}

/**
 * Copies a subvolume by a snapshot, which is of one moment. Those inside it are copied into their places one after another: where
 * somebody may write meanwhile that is several moments, and has to be accepted.
 *
 * @throws StorageError 'not-consistent' | 'data-loss' | 'busy' | 'host-failure'
 */
export async function copySubvolume(
  source: CopySource,
  target: VolumePlace,
  options: CopyOptions,
): Promise<Consistency> {
  const { signal } = options;
  return whileOpen(openData(source.place, signal), async (data) => {
    if (data === undefined) throw missing(source.place, source.spec);
    const nested = await nestedSubvolumes(data.directory, data.id, signal);
    const consistency = consistencyOf(source, nested);
    if (consistency === 'loose' && !options.wish.allowsLoose) throw severalMoments(source, nested.length);
    await options.wish.mayBegin;
    await finishUnder(target, signal, (parent) => copyInto(parent, data, nested, options));
    return consistency;
  });
}

function consistencyOf({ isLive }: CopySource, nested: readonly NestedSubvolume[]): Consistency {
  if (nested.length === 0) return 'atomic';
  return isLive ? 'loose' : 'quiet';
}

async function copyInto(
  parent: Directory,
  data: VolumeData,
  nested: readonly NestedSubvolume[],
  { readonly, finish, signal }: CopyOptions,
): Promise<void> {
  const isOne = nested.length === 0;
  const name = unfinishedName;
  await snapshotSubvolume(data.directory, { parent, name, readonly: readonly && isOne }, signal);
  await whileOpen(parent.openChild(name), async (copy) => {
    await requireSame(data, nested, signal);
    const copies = await copyNested(data, nested, copy, signal);
    if (readonly && !isOne) await makeReadonly(copy, copies, signal);
    await finish?.(parent, copy, !isOne);
  });
}

/** One that was made between the look and the snapshot would be an empty directory in the copy. */
async function requireSame(
  data: VolumeData,
  before: readonly NestedSubvolume[],
  signal: AbortSignal,
): Promise<void> {
  const after = await nestedSubvolumes(data.directory, data.id, signal);
  const textOf = (list: readonly NestedSubvolume[]) =>
    list
      .map(({ id, relativePath }) => `${id} ${relativePath}`)
      .sort()
      .join('\n');
  if (textOf(after) === textOf(before)) return;
  const where = data.directory.realPath;
  throw new StorageError('busy', `subvolumes inside ${where} were made or removed meanwhile; try again`);
}

/** @returns the copies' places, outer ones first */
async function copyNested(
  data: VolumeData,
  nested: readonly NestedSubvolume[],
  copy: Directory,
  signal: AbortSignal,
): Promise<string[][]> {
  const places: string[][] = [];
  for (const one of nested) {
    const names = one.relativePath.split('/');
    await whileOpen(openNested(data.directory, one, signal), async (source) => {
      const outside = names.length === 1 ? copy : await openBelow(copy, names.slice(0, -1));
      try {
        const name = names.at(-1) ?? '';
        // where it was, a snapshot has an empty directory
        if (outside === undefined || !(await removeIfEmpty(outside, name))) throw moved(data, one);
        await snapshotSubvolume(source, { parent: outside, name, readonly: false }, signal);
      } finally {
        if (outside !== copy) await outside?.close();
      }
    });
    places.push(names);
  }
  return places;
}

async function makeReadonly(
  copy: Directory,
  places: readonly (readonly string[])[],
  signal: AbortSignal,
): Promise<void> {
  for (const names of places.toReversed()) {
    await whileOpen(openBelow(copy, names), async (inner) => {
      if (inner !== undefined) await setSubvolumeReadonly(inner, true, signal);
    });
  }
  await setSubvolumeReadonly(copy, true, signal);
}

function severalMoments({ spec }: CopySource, count: number): StorageError {
  return new StorageError(
    'not-consistent',
    `volume ${spec.id} is in use and has ${count} subvolumes inside, which cannot be copied as of one moment; ` +
      'stop its pod, delete them, or accept it with consistency: accept',
  );
}

function moved(data: VolumeData, { relativePath }: NestedSubvolume): StorageError {
  const name = JSON.stringify(relativePath);
  return new StorageError(
    'busy',
    `the subvolume ${name} inside ${data.directory.realPath} was moved meanwhile; try again`,
  );
}
