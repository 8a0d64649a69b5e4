import { messageOf, StorageError } from '../model/errors.ts';
import { descriptorPathForCommands } from './descriptor.ts';
import { CommandError, run, throwIfAborted } from './run.ts';

/** A stretch of a file that has blocks of its own on disk; preallocated ones that were never written count too. */
export interface Extent {
  readonly startBytes: bigint;
  readonly lengthBytes: bigint;
  /** another file has the same blocks (reflink): overwriting would write elsewhere */
  readonly isShared: boolean;
}

/**
 * Asks the file system (FIEMAP) where open files have blocks; one answer a file, in order. Unwritten extents are among
 * them on purpose: a zeroed range (a discard inside an image) only marks its blocks unwritten and leaves the old bytes in them.
 *
 * @returns undefined where the file system cannot tell (tmpfs); such a one has no shared blocks either
 * @throws StorageError 'host-failure' where both filefrag and xfs_io fail, or answer what cannot be read; the signal's reason
 */
export async function findExtents(
  fds: readonly number[],
  signal: AbortSignal,
): Promise<Extent[][] | undefined> {
  const paths = fds.map(descriptorPathForCommands);
  const options = { signal, timeoutMs: 600_000 };
  try {
    const { stdout } = await run('filefrag', ['-s', '-b1', '-e', '-v', ...paths], options);
    return inOrder(paths, parseFilefrag(stdout));
  } catch (error) {
    throwIfAborted(signal, 'filefrag');
    if (isUnsupported(error)) return undefined;
  }
  try {
    const { stdout } = await run('xfs_io', ['-r', '-c', 'fiemap -v', ...paths], options);
    return inOrder(paths, parseFiemap(stdout));
  } catch (error) {
    if (isUnsupported(error)) return undefined;
    throw error;
  }
}

function isUnsupported(error: unknown): boolean {
  return error instanceof CommandError && /FIEMAP unsupported|Operation not supported/.test(error.stderr);
}

function inOrder(paths: readonly string[], found: ReadonlyMap<string, Extent[]>): Extent[][] {
  return paths.map((path) => {
    const extents = found.get(path);
    if (extents === undefined) throw unreadable(`nothing about ${path}`);
    return extents;
  });
}

/** Reads `filefrag -b1 -e -v` of several files: extents in bytes by path, neighbours merged. */
export function parseFilefrag(text: string): Map<string, Extent[]> {
  const found = new Map<string, Extent[]>();
  let current: Extent[] | undefined;
  for (const line of text.split('\n')) {
    const header = /^File size of (.+) is \d+ \(\d+ blocks? of 1 bytes?\)$/.exec(line);
    if (header?.[1] !== undefined) {
      current = [];
      found.set(header[1], current);
      continue;
    }
    const row = /^\s*\d+:\s*(\d+)\.\.\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+):(?:\s*\d+:)?\s*([a-z_0-9x,]*)\s*$/.exec(
      line,
    );
    if (row?.[1] !== undefined && row[2] !== undefined) {
      if (current === undefined) throw unreadable(line);
      append(current, {
        startBytes: BigInt(row[1]),
        lengthBytes: BigInt(row[2]),
        isShared: (row[3] ?? '').split(',').includes('shared'),
      });
    } else if (/^\s*\d+:/.test(line)) throw unreadable(line);
  }
  return found;
}

const sectorBytes = 512n;
/** FIEMAP_EXTENT_SHARED */
const sharedFlag = 0x2000;

/** Reads `xfs_io -c 'fiemap -v'` of several files, which counts in sectors. */
export function parseFiemap(text: string): Map<string, Extent[]> {
  const found = new Map<string, Extent[]>();
  let current: Extent[] | undefined;
  for (const line of text.split('\n')) {
    const header = /^(\S.*):$/.exec(line);
    if (header?.[1] !== undefined) {
      current = [];
      found.set(header[1], current);
      continue;
    }
    const row = /^\s*\d+: \[(\d+)\.\.(\d+)\]:\s*(hole|\d+\.\.\d+)\s+\d+(?:\s+(0x[0-9a-f]+))?\s*$/.exec(line);
    if (row?.[1] !== undefined && row[2] !== undefined) {
      if (current === undefined) throw unreadable(line);
      if (row[3] === 'hole') continue;
      const first = BigInt(row[1]);
      append(current, {
        startBytes: first * sectorBytes,
        lengthBytes: (BigInt(row[2]) - first + 1n) * sectorBytes,
        isShared: (Number(row[4] ?? 0) & sharedFlag) !== 0,
      });
    } else if (/^\s*\d+:/.test(line)) throw unreadable(line);
  }
  return found;
}

/** Adds an extent, as one with the last where they touch: a much fragmented file is still a short list. */
function append(extents: Extent[], next: Extent): void {
  const last = extents.at(-1);
  const touches = last !== undefined && last.startBytes + last.lengthBytes === next.startBytes;
  if (!touches || last.isShared !== next.isShared) extents.push(next);
  else extents[extents.length - 1] = { ...last, lengthBytes: last.lengthBytes + next.lengthBytes };
}

/** The part of each extent that lies within the file's size; what was reserved behind its end never held its bytes. */
export function clipToSize(extents: readonly Extent[], sizeBytes: bigint): Extent[] {
  return extents.flatMap((extent) => {
    const leftBytes = sizeBytes - extent.startBytes;
    if (leftBytes <= 0n) return [];
    return [leftBytes < extent.lengthBytes ? { ...extent, lengthBytes: leftBytes } : extent];
  });
}

function unreadable(what: unknown): StorageError {
  return new StorageError('host-failure', `the list of extents cannot be read: ${messageOf(what)}`);
}
