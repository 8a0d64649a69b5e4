import { diskError } from '../disk-error.ts';
import type { LocatedVolume } from '../locate-volume.ts';

/** Only a volume with a PV is staged: from now on nothing sweeps it, and nothing destroys it while its claim lives. */
export async function markUsed({ pool, record }: LocatedVolume, doing: string): Promise<void> {
  try {
    await pool.records.markUsed(record);
  } catch (error) {
    throw diskError(error, doing);
  }
}
