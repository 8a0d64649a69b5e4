import type { Directory } from './directory.ts';
import { CommandError, run } from './run.ts';

/** What flock(1) ends with where somebody else has the lock. */
const heldExitCode = 1;

/**
 * Locks a directory against every other process of the machine, in whatever container: until this one closes it or dies.
 *
 * Node has no flock(2), but the lock belongs to the open directory and not to who asks: flock(1) inherits our descriptor,
 * locks it and ends. Nothing is left on disk, so nothing is stale after kill -9.
 *
 * @returns false where somebody else has it
 * @throws CommandError where flock(1) is missing or the file system has no locks
 */
export async function lockDirectory(directory: Directory, signal: AbortSignal): Promise<boolean> {
  try {
    await run('flock', ['-x', '-n', '0'], { signal, descriptor: directory.fd });
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === heldExitCode) return false;
    throw error;
  }
}
