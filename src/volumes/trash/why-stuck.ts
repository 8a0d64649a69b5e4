import type { Stuck } from '../../model/disk-inventory.ts';
import type { Reason } from '../../model/errors.ts';
import type { DiskPlace } from '../../model/volume.ts';
import type { TrashEntry } from './trash-entry.ts';

/** What passes while it is tried again: whoever uses the disk ends, or we do. */
const passing: ReadonlySet<Reason> = new Set(['in-use', 'busy', 'cancelled', 'deadline-exceeded']);

/**
 * Pure: what keeps a deleted volume in the trash until a person does something, by its last failure. Undefined: it goes, or may go, by
 * itself. Only of mounted disks: what lies in the pool itself goes when the pool is in order again, which is told of the pool.
 */
export function whyStuck(
  { spec, failure }: Pick<TrashEntry, 'spec' | 'failure'>,
  mountPointOf: (disk: DiskPlace) => string,
): Stuck | undefined {
  if (failure === undefined) return undefined;
  if (spec === undefined) return failure.reason === 'data-loss' ? { on: 'record' } : undefined;
  if (spec.disk === undefined || passing.has(failure.reason)) return undefined;
  const mountPoint = mountPointOf(spec.disk);
  return { on: failure.reason === 'pool-unavailable' ? 'unusable disk' : 'failing disk', mountPoint };
}
