import { StorageError } from '../model/errors.ts';

/** What a publish is answered whose volume is not at the staging path that it names. */
export function notStaged(volumeId: string, stagingPath: string): StorageError {
  return new StorageError('not-staged', `volume ${volumeId} is not staged at ${stagingPath}; stage it first`);
}
