import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { describeEntry } from '../../model/snapshot-id.ts';
import { untilLate } from '../copies/copy-jobs.ts';
import type { Pool } from '../pools/pool.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

/**
 * Waits until nothing is left of what was deleted.
 *
 * @throws StorageError 'still-removing' a second before the caller's deadline; else as `Trash.whenRemoved`
 */
export async function waitUntilRemoved(
  { clock }: VolumeEnvironment,
  pool: Pool,
  id: string,
  call: CallContext,
): Promise<void> {
  const { signal, late, cancel } = untilLate(clock, call);
  try {
    await pool.trash.whenRemoved(id, signal);
  } catch (error) {
    if (!late.aborted) throw error;
    throw new StorageError(
      'still-removing',
      `${describeEntry(id)} is being removed from pool ${pool.name}; repeat the call`,
      { cause: error },
    );
  } finally {
    cancel();
  }
}
