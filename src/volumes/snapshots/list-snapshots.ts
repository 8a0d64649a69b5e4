import type { DriverSnapshot, ListSnapshotsRequest, SnapshotPage } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { isSnapshotId } from '../../model/snapshot-id.ts';
import { driverSnapshotOf } from './create-snapshot.ts';
import { makeToken, readToken } from '../records/page-token.ts';
import type { Pool } from '../pools/pool.ts';
import type { SnapshotRecord } from '../records/snapshot-record.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

/**
 * CSI ListSnapshots: those of the pools that are there, in the order of their ids, also those that are still being copied.
 * A record that cannot be read says nothing that could be listed; recovery reports it, and GetSnapshot of it is an error.
 *
 * @throws StorageError 'bad-token' | 'invalid-argument'
 */
export async function listSnapshots(
  { pools }: Pick<VolumeEnvironment, 'pools'>,
  request: ListSnapshotsRequest,
): Promise<SnapshotPage> {
  if (request.maxEntries < 0) {
    throw new StorageError('invalid-argument', `max_entries is ${request.maxEntries}; it is 0 or more`);
  }
  const after = readToken(request.startingToken, isSnapshotId);
  const rest = pools
    .open()
    .flatMap((pool) => [...matching(pool, request)])
    .filter((record) => record.id > after)
    .sort((left, right) => (left.id < right.id ? -1 : 1));
  const end = request.maxEntries === 0 ? rest.length : Math.min(request.maxEntries, rest.length);
  const page = rest.slice(0, end);
  const last = page.at(-1);
  return {
    entries: page.map(driverSnapshotOf),
    nextToken: last === undefined || end === rest.length ? '' : makeToken(last.id),
  };
}

/** By the index where there is a filter: one of thousands is found without looking at the others. */
function matching(
  { snapshotRecords }: Pool,
  { snapshotId, sourceVolumeId }: ListSnapshotsRequest,
): Iterable<SnapshotRecord> {
  if (snapshotId !== undefined) {
    const record = snapshotRecords.get(snapshotId);
    const isWanted = sourceVolumeId === undefined || record?.sourceVolumeId === sourceVolumeId;
    return record !== undefined && isWanted ? [record] : [];
  }
  return sourceVolumeId === undefined ? snapshotRecords.all() : snapshotRecords.ofSource(sourceVolumeId);
}

/** CSI GetSnapshot. @throws StorageError 'invalid-argument' | 'snapshot-not-found' | 'pool-unavailable' | 'data-loss' */
export async function getSnapshot(
  { pools }: Pick<VolumeEnvironment, 'pools'>,
  snapshotId: string,
): Promise<DriverSnapshot> {
  if (snapshotId === '') {
    throw new StorageError('invalid-argument', 'no snapshot id is given; name the snapshot');
  }
  const found = isSnapshotId(snapshotId) ? await pools.findSnapshot(snapshotId) : undefined;
  if (found === undefined) {
    const shown = JSON.stringify(snapshotId).slice(1, -1);
    throw new StorageError('snapshot-not-found', `snapshot ${shown} is not on this node`);
  }
  return driverSnapshotOf(found.record);
}
