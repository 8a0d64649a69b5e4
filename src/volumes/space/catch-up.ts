import type { Backend } from '../../backends/backend.ts';
import { floorToBlock } from './capacity.ts';
import type { Pool } from '../pools/pool.ts';
import type { VolumeRecord } from '../records/record.ts';

/**
 * Has a record follow a volume that has grown without it, as a crash or a failure in the middle of a growth leaves it. The volume keeps
 * what it has, since a pod may have it already, and from now on that counts; where the record cannot be written, in memory alone.
 *
 * @returns the size that counts from now on; undefined: the record was right
 * @throws what writing the record throws, once the size counts
 */
export async function catchUp(
  pool: Pool,
  { spec }: VolumeRecord,
  backend: Backend,
): Promise<bigint | undefined> {
  const sizeBytes = floorToBlock((await backend.sizeOf?.(pool.place(spec.id), spec)) ?? 0n);
  if (sizeBytes <= spec.sizeBytes) return undefined;
  const follow = (record: VolumeRecord): VolumeRecord => ({ ...record, spec: { ...record.spec, sizeBytes } });
  const present = pool.records.get(spec.id);
  if (present !== undefined) pool.records.put(follow(present));
  await pool.records.change(spec.id, follow);
  return sizeBytes;
}
