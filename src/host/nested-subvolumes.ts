import { StorageError } from '../model/errors.ts';
import type { Directory } from './directory.ts';
import { run } from './run.ts';
import { commandPath, subvolumeIdOf, subvolumePathOf } from './subvolumes.ts';

export interface NestedSubvolume {
  readonly id: bigint;
  /** from the outer subvolume's root; names in it are a stranger's */
  readonly relativePath: string;
}

/** More than most tools make in one volume; looking at each costs a process, and somebody waits. */
const maximumNested = 2000;

type Children = ReadonlyMap<bigint, ReadonlySet<bigint>>;

/**
 * The subvolumes inside a subvolume, at any depth, outer ones first. `btrfs subvolume list` prints names as they are, so that a
 * name with a newline can pretend to be another line: what it says is only a hint, and the kernel is asked where each id is.
 *
 * @param most unset: as many as can be looked at while somebody waits
 * @throws StorageError 'host-failure' where there are more
 */
export async function nestedSubvolumes(
  outer: Directory,
  outerId: bigint,
  signal: AbortSignal,
  most: number = maximumNested,
): Promise<NestedSubvolume[]> {
  const candidates = descendants(await listChildren(outer, signal), outerId);
  if (candidates.length === 0) return [];
  if (candidates.length > most) {
    throw new StorageError(
      'host-failure',
      `${outer.realPath} has more than ${most} subvolumes inside; delete some with btrfs subvolume delete`,
    );
  }
  const top = await subvolumePathOf(outer, outerId, signal);
  if (top === undefined) return [];
  const nested: NestedSubvolume[] = [];
  for (const id of candidates) {
    const path = await subvolumePathOf(outer, id, signal);
    if (path?.startsWith(`${top}/`) === true) nested.push({ id, relativePath: path.slice(top.length + 1) });
  }
  return nested.toSorted((left, right) => depthOf(left) - depthOf(right));
}

/** Who may lie in whom, of a whole file system. One process, whatever number of volumes it is asked for. */
export async function listChildren(within: Directory, signal: AbortSignal): Promise<Children> {
  const { stdout } = await run('btrfs', ['subvolume', 'list', '-p', commandPath(within)], { signal });
  return parseChildren(stdout);
}

/** A child may have several parents here: one is true, others are what a name pretends. */
export function parseChildren(listing: string): Children {
  const children = new Map<bigint, Set<bigint>>();
  for (const [, id, parent] of listing.matchAll(/^ID (\d{1,19}) gen \d+ parent (\d{1,19}) top level /gm)) {
    if (id === undefined || parent === undefined) continue;
    const of = children.get(BigInt(parent)) ?? new Set();
    children.set(BigInt(parent), of.add(BigInt(id)));
  }
  return children;
}

/** Whether anything may lie in it; no is certain. */
export function mayHaveNested(children: Children, outerId: bigint): boolean {
  return children.has(outerId);
}

function descendants(children: Children, outerId: bigint): bigint[] {
  const seen = new Set([outerId]);
  // grows while it is walked
  for (const id of seen) for (const child of children.get(id) ?? []) seen.add(child);
  seen.delete(outerId);
  return [...seen];
}

function depthOf({ relativePath }: NestedSubvolume): number {
  return relativePath.split('/').length;
}

/**
 * Opens a nested subvolume, one component at a time and never through a link.
 * @throws StorageError 'busy' where something else is there by now, or its name is not text
 */
export async function openNested(
  outer: Directory,
  nested: NestedSubvolume,
  signal: AbortSignal,
): Promise<Directory> {
  const opened = await openBelow(outer, nested.relativePath.split('/'));
  try {
    if (opened !== undefined && (await subvolumeIdOf(opened, signal)) === nested.id) return opened;
  } catch (error) {
    await opened?.close();
    throw error;
  }
  await opened?.close();
  throw new StorageError(
    'busy',
    `the subvolume ${JSON.stringify(nested.relativePath)} inside ${outer.realPath} was moved meanwhile, or its name is not text; try again`,
  );
}

/** Undefined where one of the names (at least one) is not there, or no directory itself. */
export async function openBelow(outer: Directory, names: readonly string[]): Promise<Directory | undefined> {
  let current: Directory | undefined;
  for (const name of names) {
    const next = await (current ?? outer).openChild(name).catch(() => undefined);
    await current?.close();
    if (next === undefined) return undefined;
    current = next;
  }
  return current;
}
