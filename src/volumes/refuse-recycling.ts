import { StorageError } from '../model/errors.ts';
import type { VolumeRecord } from './records/record.ts';

/** What is said of a volume that is being emptied. */
export function recyclingText(volumeId: string): string {
  return `volume ${volumeId} is being emptied for its next claim`;
}

/**
 * For whoever wants to use a volume: what is being destroyed is nobody's any more.
 * @throws StorageError 'in-use'
 */
export function refuseRecycling({ state, spec }: Pick<VolumeRecord, 'state' | 'spec'>): void {
  if (state !== 'recycling') return;
  throw new StorageError('in-use', `${recyclingText(spec.id)}; wait until that is over`);
}
