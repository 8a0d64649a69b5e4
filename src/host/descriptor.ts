import { readFileSync } from 'node:fs';

/**
 * Linux' O_PATH, which Node does not name: pins an entry (also a FIFO, device, socket or, with O_NOFOLLOW, a link)
 * without opening it for reading or writing, so nothing happens to what is behind it.
 */
export const pathOnly = 0o10_000_000;

/** The descriptor as a path of this process: leads to the very object that was opened, wherever it was moved. */
export function descriptorPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** The same for a command that we start: its own `self` would be another process. */
export function descriptorPathForCommands(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

/** One entry below an open directory. The name's bytes go through untouched: names on disk need not be UTF-8. */
export function entryPath(fd: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
}

/**
 * The mount that an open descriptor belongs to. Tells a bind mount of the same file system apart, which has the same
 * device number. Synchronous on purpose: procfs answers from memory in microseconds, a trip through the thread pool
 * costs more than the read.
 */
export function mountIdOf(fd: number): number {
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
  const found = /^mnt_id:\s*(\d+)$/m.exec(text);
  if (found === null) throw new Error(`/proc/self/fdinfo/${fd} names no mnt_id`);
  return Number(found[1]);
}

/** The system's error code, such as ENOENT, of anything that was thrown. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** A name from disk for people: readable where it is UTF-8, always on one line. */
export function printable(name: Buffer): string {
  return JSON.stringify(name.toString()).slice(1, -1);
}
