import { isAbsolute, normalize } from 'node:path';
import { discoveryName } from '../../backends/backend.ts';
import { usersOfDirectory } from '../../backends/users-of-directory.ts';
import type { Directory } from '../../host/directory.ts';
import { deviceOf, entryFacts, type EntryFacts } from '../../host/entry-facts.ts';
import { devicesOf } from '../../host/loop-devices.ts';
import { isAtOrBelow } from '../../host/mountinfo.ts';
import { StorageError } from '../../model/errors.ts';
import type { Pools } from '../pools/open-pools.ts';
import type { Pool } from '../pools/pool.ts';
import { markerName } from '../pools/pool-marker.ts';
import { isOwnName } from './own-folders.ts';

/** Where something that is to be adopted lies; it may be gone already. */
export interface Source {
  readonly pool: Pool;
  /** below the pool's root */
  readonly relativePath: string;
  readonly parts: readonly string[];
  readonly name: string;
}

// oxlint-disable-next-line no-control-regex -- these are what is refused
const strangeName = /[\u0000-\u001f\u007f\ufffd]/;

/**
 * Which pool a path is in, by its text alone.
 *
 * @throws StorageError 'invalid-argument' | 'pool-not-found', with what can be adopted
 */
export function readSource(pools: Pick<Pools, 'open' | 'paths'>, path: string): Source {
  if (!isAbsolute(path) || path.includes('\0'))
    throw refused('invalid-argument', `${JSON.stringify(path)} is no absolute path; name all of it`);
  const clean = plainPath(path);
  const open = pools.open();
  const pool = open
    .filter(({ config }) => clean.startsWith(`${plainPath(config.path)}/`))
    .toSorted((a, b) => b.config.path.length - a.config.path.length)[0];
  if (pool === undefined) {
    const known = open.map(({ config }) => config.path).join(', ');
    throw refused(
      'pool-not-found',
      `${clean} lies in no open pool (${known}); move it into one, on the same disk`,
    );
  }
  const relativePath = clean.slice(plainPath(pool.config.path).length + 1);
  const parts = relativePath.split('/');
  const [first = ''] = parts;
  const name = parts.at(-1) ?? '';
  if (isOwnName(first) || relativePath === discoveryName)
    throw refused(
      'invalid-argument',
      `${clean} is Loam's own; adopt something beside it or in ${discoveryName}/`,
    );
  // also of one whose disk is not there: it is expected to be found where it was
  const inner = pools
    .paths()
    .map(plainPath)
    .filter((each) => each.length > plainPath(pool.config.path).length)
    .find((each) => isAtOrBelow(each, clean) || isAtOrBelow(clean, each));
  if (inner !== undefined)
    throw refused(
      'invalid-argument',
      `${clean} is of the pool ${inner}, which is not open, or has it in it; adopt something else`,
    );
  if (parts.some((part) => strangeName.test(part)) || name.startsWith('.'))
    throw refused('invalid-argument', `${JSON.stringify(clean)} has no plain name; rename it, then repeat`);
  return { pool, relativePath, parts, name };
}

function plainPath(path: string): string {
  return normalize(path).replace(/\/+$/, '');
}

/**
 * Works in the directory that holds the source, opened one component at a time and never through a link.
 *
 * @throws StorageError 'path-not-found' | 'invalid-argument'
 */
export async function withParent<T>(
  { pool, parts }: Source,
  act: (parent: Directory) => Promise<T>,
): Promise<T> {
  let current: Directory = pool.root;
  const opened: Directory[] = [];
  try {
    for (const part of parts.slice(0, -1)) {
      const facts = await entryFacts(current, part);
      if (facts === undefined) throw notThere(current.pathOf(part));
      if (facts.kind !== 'directory')
        throw refused(
          'invalid-argument',
          `${current.pathOf(part)} is a ${facts.kind}, no folder; name the real path`,
        );
      current = await current.openChild(part);
      opened.push(current);
      await refusePool(current);
    }
    return await act(current);
  } finally {
    await Promise.all(opened.map((each) => each.close()));
  }
}

/**
 * Makes sure that it can be taken as it is: a folder or a file of the pool's own file system that nobody has in use.
 *
 * @throws StorageError 'path-not-found' | 'invalid-argument' | 'in-use'
 */
export async function inspectSource({ pool, name }: Source, parent: Directory): Promise<EntryFacts> {
  const path = parent.pathOf(name);
  const facts = await entryFacts(parent, name);
  if (facts === undefined) throw notThere(path);
  if (facts.kind === 'link' || facts.kind === 'other') {
    const what = facts.kind === 'link' ? 'a symbolic link' : 'a device, socket or pipe';
    throw refused('invalid-argument', `${path} is ${what}; adopt the folder or image file itself`);
  }
  if (facts.device !== (await deviceOf(pool.root)))
    throw refused(
      'invalid-argument',
      `${path} is a file system or subvolume of its own and cannot be moved into pool ${pool.name}; make it a pool, or copy what is in it`,
    );
  if (facts.kind === 'file' && facts.links !== 1n)
    throw refused('invalid-argument', `${path} has ${facts.links} names (hard links); keep one, then repeat`);
  if (facts.kind === 'directory') {
    const folder = await parent.openChild(name);
    try {
      await refusePool(folder);
    } finally {
      await folder.close();
    }
  }
  const users = facts.kind === 'directory' ? await usersOfDirectory({ path }) : await attachments(path);
  if (users.length > 0)
    throw refused(
      'in-use',
      `${path} is in use: ${users.slice(0, 5).join(', ')}; unmount or stop that, then repeat`,
    );
  return facts;
}

/** Of whichever node or cluster: what is in one has records and PVs that know it by its place. */
async function refusePool(folder: Directory): Promise<void> {
  if (!(await folder.exists(markerName))) return;
  throw refused(
    'invalid-argument',
    `${folder.realPath} is a pool (${markerName}); have it configured as one, and adopt what is in it`,
  );
}

async function attachments(path: string): Promise<string[]> {
  const devices = await devicesOf(path, AbortSignal.timeout(30_000));
  return devices.map((device) => `attached as ${device.path}`);
}

function notThere(path: string): StorageError {
  return refused('path-not-found', `${path} is not there; name a folder or an image file in a pool`);
}

export function refused(
  reason: 'invalid-argument' | 'pool-not-found' | 'path-not-found' | 'in-use',
  message: string,
): StorageError {
  return new StorageError(reason, message);
}
