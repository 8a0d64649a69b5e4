import { messageOf, StorageError } from '../model/errors.ts';

/**
 * What a failed system call on a pool means for the caller. StorageErrors pass through; a full or read-only disk gets
 * its own reason; anything else is `host-failure`.
 */
export function diskError(error: unknown, doing: string): StorageError {
  if (error instanceof StorageError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const message = `${doing}: ${messageOf(error)}`;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new StorageError('out-of-space', `${message}; free space or inodes on the disk, or add a pool`, {
        cause: error,
      });
    case 'EROFS':
      return new StorageError('pool-unavailable', `${message}; mount the disk writable`, { cause: error });
    default:
      return StorageError.from(error, doing);
  }
}
