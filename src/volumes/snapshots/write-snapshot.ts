import type { CopyWish } from '../../backends/backend.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { noteBegun } from '../begun-intents.ts';
import type { SnapshotPlan } from './plan-snapshot.ts';
import { settleAll } from '../settle-all.ts';
import type { SnapshotRecord } from '../records/snapshot-record.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

/**
 * Makes a snapshot on the disk: its directory, the intent, the data, the record.
 *
 * @returns the record, durable and in the index
 * @throws as `Backend.capture`; 'data-loss' with the fact `isForeign` where somebody else's folder has that name, which is left alone
 */
export async function writeSnapshot(
  { reached }: Pick<VolumeEnvironment, 'reached'>,
  plan: SnapshotPlan,
  intent: SnapshotRecord,
  wish: CopyWish,
  call: CallContext,
): Promise<SnapshotRecord> {
  const { pool, backend, source, isInstant } = plan;
  const { id, spec } = intent;
  call.signal.throwIfAborted();
  const target = pool.snapshotPlace(id);
  noteBegun(intent);
  const directory = await pool.snapshots.makePrivateChild(id);
  if (directory === undefined) {
    throw new StorageError(
      'data-loss',
      `${target.path} is there without a record; look at it and move it away`,
      { facts: { isForeign: true } },
    );
  }
  try {
    await reached?.('reserved', id);
    const intended = [pool.snapshotRecords.write(directory, intent), pool.snapshots.sync()];
    const mayBegin = settleAll(intended).then(() => reached?.('intent', id));
    const capturing = backend.capture(source, target, { ...wish, mayBegin }, call);
    await settleAll([mayBegin, capturing]);
    const { consistency } = await capturing;
    await reached?.('data', id);
    const writtenBytes = (await backend.writtenBytes?.(target, spec)) ?? intent.writtenBytes;
    const record: SnapshotRecord = {
      ...intent,
      state: 'ready',
      consistency,
      writtenBytes,
      addedBytes: isInstant ? intent.addedBytes : writtenBytes,
    };
    // the directory's flush, after the record, covers the data in it, too
    await pool.snapshotRecords.write(directory, record);
    pool.snapshotRecords.put(record);
    await reached?.('commit', id);
    return record;
  } finally {
    await directory.close();
  }
}
