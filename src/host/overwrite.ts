import { randomFillSync } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { StorageError, messageOf } from '../model/errors.ts';
import { descriptorPathForCommands, errorCode } from './descriptor.ts';
import type { Extent } from './extents.ts';
import { inLanes } from './lanes.ts';
import type { Pace } from './pace.ts';
import { run, throwIfAborted } from './run.ts';

/** A file that is open for reading and writing, and where it has blocks. */
export interface ErasableFile {
  readonly handle: FileHandle;
  readonly extents: readonly Extent[];
  /** for messages */
  readonly path: string;
}

interface Piece {
  readonly file: ErasableFile;
  readonly position: number;
  readonly length: number;
}

const blockLength = 1024 * 1024;
/** Written, flushed and compared at a time: bounds dirty memory, and what a crash lets us do again. */
const windowLength = 64 * blockLength;
const lanes = 2;

/**
 * What is written. Random bytes are one block, fresh for each tree, again and again: they are there so that nobody can tell
 * erased blocks from used ones, and a compare has to know them.
 */
export function erasePattern(method: 'zero' | 'random'): Buffer {
  return method === 'zero' ? Buffer.alloc(blockLength) : randomFillSync(Buffer.allocUnsafe(blockLength));
}

/**
 * Overwrites the extents of some files in place, flushes them to the disk and compares what is read back.
 *
 * Before the compare the kernel is asked to forget its cached pages, so that the bytes come from the disk; it may decline, then
 * the page cache answers after a completed flush. What a disk keeps in spare blocks is beyond any overwriting.
 * @returns bytes overwritten
 * @throws StorageError 'host-failure' where the disk refuses or answers other bytes; 'cannot-erase' where overwriting
 *   needed new blocks; the signal's reason
 */
export async function overwrite(
  files: readonly ErasableFile[],
  pattern: Buffer,
  options: { readonly pace: Pace; readonly signal: AbortSignal },
): Promise<bigint> {
  let totalBytes = 0n;
  for (const window of windows(files)) {
    await inLanes(window, lanes, async (piece) => {
      await options.pace.bytes(piece.length, options.signal);
      await write(piece, pattern);
    });
    const touched = [...new Set(window.map((piece) => piece.file))];
    await inLanes(touched, lanes, (file) => attempt(() => file.handle.datasync(), file));
    await forgetPages(touched, options.signal);
    await compare(window, pattern, options.signal);
    totalBytes += BigInt(window.reduce((sum, piece) => sum + piece.length, 0));
  }
  return totalBytes;
}

/** Reads the extents of files that were discarded. @throws StorageError 'host-failure' where any byte is not zero */
export async function compareWithZero(files: readonly ErasableFile[], signal: AbortSignal): Promise<void> {
  const zero = erasePattern('zero');
  for (const window of windows(files)) await compare(window, zero, signal);
}

function* windows(files: readonly ErasableFile[]): Generator<Piece[]> {
  let window: Piece[] = [];
  let length = 0;
  for (const file of files) {
    for (const piece of pieces(file)) {
      window.push(piece);
      length += piece.length;
      if (length < windowLength) continue;
      yield window;
      window = [];
      length = 0;
    }
  }
  if (window.length > 0) yield window;
}

/** Cut at multiples of the block, so that a position always gets the same bytes of the pattern. */
function* pieces(file: ErasableFile): Generator<Piece> {
  for (const extent of file.extents) {
    const end = Number(extent.startBytes + extent.lengthBytes);
    let position = Number(extent.startBytes);
    while (position < end) {
      const length = Math.min(end - position, blockLength - (position % blockLength));
      yield { file, position, length };
      position += length;
    }
  }
}

function patternOf(piece: Piece, pattern: Buffer): Buffer {
  const start = piece.position % blockLength;
  return pattern.subarray(start, start + piece.length);
}

async function write(piece: Piece, pattern: Buffer): Promise<void> {
  const bytes = patternOf(piece, pattern);
  const { handle } = piece.file;
  await attempt(async () => {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, piece.position + done);
      done += bytesWritten;
    }
  }, piece.file);
}

async function compare(window: readonly Piece[], pattern: Buffer, signal: AbortSignal): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.max(...window.map((piece) => piece.length), 0));
  for (const piece of window) {
    signal.throwIfAborted();
    const read = await attempt(() => readPiece(piece, buffer), piece.file);
    if (!read.equals(patternOf(piece, pattern))) throw different(piece);
  }
}

async function readPiece(piece: Piece, buffer: Buffer): Promise<Buffer> {
  let done = 0;
  while (done < piece.length) {
    const { bytesRead } = await piece.file.handle.read(
      buffer,
      done,
      piece.length - done,
      piece.position + done,
    );
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

/** Best effort: where xfs_io is not there or declines, the compare reads the page cache. */
async function forgetPages(files: readonly ErasableFile[], signal: AbortSignal): Promise<void> {
  const paths = files.map((file) => descriptorPathForCommands(file.handle.fd));
  try {
    await run('xfs_io', ['-r', '-c', 'fadvise -d 0 0', ...paths], { signal });
  } catch {
    throwIfAborted(signal, 'erasing');
  }
}

function different(piece: Piece): StorageError {
  return new StorageError(
    'host-failure',
    `${piece.file.path} reads differently from what was written at byte ${piece.position}; the disk may be failing`,
  );
}

async function attempt<T>(act: () => Promise<T>, file: ErasableFile): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new StorageError(
        'cannot-erase',
        `${file.path} cannot be overwritten in place: the file system wants new blocks for it and has none (${code}); use scrub: discard`,
        { cause: error },
      );
    }
    throw new StorageError('host-failure', `${file.path} cannot be erased: ${code ?? messageOf(error)}`, {
      cause: error,
    });
  }
}
