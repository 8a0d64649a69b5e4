import { StorageError } from '../model/errors.ts';

/** The id may be anything that a caller wrote. */
export function notHere(volumeId: string): StorageError {
  const name = JSON.stringify(volumeId).slice(1, -1);
  return new StorageError(
    'volume-not-found',
    `volume ${name} is not on this node; it was deleted, or is another node's (loam volumes lists what is)`,
  );
}
