import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { StorageError } from '../model/errors.ts';
import { findExtents } from './extents.ts';
import { throwIfAborted } from './run.ts';

const chunkBytes = 1 << 20;
const grainBytes = 4096;
const zeros = Buffer.alloc(grainBytes);
/** So much is written through at a time: the last sync is short, and other volumes' writes do not wait for all of it. */
const syncEveryBytes = 128 << 20;

export interface CopyOptions {
  readonly signal: AbortSignal;
  /** bytes of the source that were dealt with, holes included */
  readonly onProgress?: (copiedBytes: bigint) => void;
}

/**
 * Copies the bytes of one file over those of another that is there, reads as zeros and is at least as large. Only what is not zero is
 * written, in blocks of 4 KiB: holes stay holes, and what was allocated stays so. Not durable when it resolves.
 *
 * @throws what reading and writing throw, such as EIO and ENOSPC; StorageError 'host-failure' where the source becomes shorter
 *   meanwhile; the signal's reason
 */
export async function copyInto(sourcePath: string, targetPath: string, options: CopyOptions): Promise<void> {
  const source = await open(sourcePath, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const target = await open(targetPath, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      await copyExtents(source, target, options);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function copyExtents(source: FileHandle, target: FileHandle, options: CopyOptions): Promise<void> {
  const { size } = await source.stat();
  // what the page cache still has without a place on disk would be missing in the list
  await source.sync();
  const [extents] = (await findExtents([source.fd], options.signal)) ?? [];
  const whole = [{ startBytes: 0n, lengthBytes: BigInt(size) }];
  const chunk = Buffer.alloc(chunkBytes);
  let unsyncedBytes = 0;
  for (const { startBytes, lengthBytes } of extents ?? whole) {
    const endBytes = Math.min(size, Number(startBytes + lengthBytes));
    for (let at = Number(startBytes); at < endBytes; at += chunkBytes) {
      throwIfAborted(options.signal, 'copying');
      unsyncedBytes += await copyChunk(source, target, {
        at,
        length: Math.min(chunkBytes, endBytes - at),
        chunk,
      });
      options.onProgress?.(BigInt(at));
      if (unsyncedBytes < syncEveryBytes) continue;
      await target.datasync();
      unsyncedBytes = 0;
    }
  }
  options.onProgress?.(BigInt(size));
}

async function copyChunk(
  source: FileHandle,
  target: FileHandle,
  stretch: { readonly at: number; readonly length: number; readonly chunk: Buffer },
): Promise<number> {
  const { at, length, chunk } = stretch;
  await readWhole(source, stretch);
  let writtenBytes = 0;
  for (const [start, end] of writtenRuns(chunk.subarray(0, length))) {
    for (let from = start; from < end;) {
      const { bytesWritten } = await target.write(chunk, from, end - from, at + from);
      from += bytesWritten;
    }
    writtenBytes += end - start;
  }
  return writtenBytes;
}

/** A read that meets a bad sector tells first of what came before it: only the next one, from there, fails. */
async function readWhole(
  source: FileHandle,
  { at, length, chunk }: { readonly at: number; readonly length: number; readonly chunk: Buffer },
): Promise<void> {
  for (let have = 0; have < length;) {
    const { bytesRead } = await source.read(chunk, have, length - have, at + have);
    if (bytesRead === 0) {
      const text = `a file that is copied has ended at ${at + have} bytes, where it had more before; try again`;
      throw new StorageError('host-failure', text);
    }
    have += bytesRead;
  }
}

/** The stretches of a chunk that are not zero, from and to, in whole grains. */
export function writtenRuns(chunk: Buffer): [number, number][] {
  const runs: [number, number][] = [];
  for (let at = 0; at < chunk.length; at += grainBytes) {
    const end = Math.min(at + grainBytes, chunk.length);
    if (chunk.compare(zeros, 0, end - at, at, end) === 0) continue;
    const last = runs.at(-1);
    if (last?.[1] === at) last[1] = end;
    else runs.push([at, end]);
  }
  return runs;
}
