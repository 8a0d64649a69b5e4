import { inLanes } from '../../host/lanes.ts';
import { messageOf } from '../../model/errors.ts';
import { clearHollow } from './clear-hollow.ts';
import type { Pool } from './pool.ts';
import type { RecoveryOptions } from './recover.ts';
import { removeUnfinished } from './remove-unfinished.ts';
import { snapshotRecordName } from '../records/snapshot-record.ts';
import { undoVolume } from '../trash/undo-volume.ts';

/**
 * Puts a pool's snapshots in order, as `recoverPool` does its volumes: half-made ones are removed, whoever wants one asks again;
 * those whose record cannot be read are kept and reported.
 */
export async function recoverSnapshots(
  { snapshots, snapshotRecords }: Pool,
  { backends, log, signal }: RecoveryOptions,
): Promise<void> {
  const report = await snapshotRecords.scan();
  await removeUnfinished(snapshots, report.withUnfinished);
  for (const name of report.hollow) {
    if (await clearHollow(snapshots, name, snapshotRecordName)) snapshotRecords.forget(name);
  }
  const intents = [...snapshotRecords.all()].filter((record) => record.state === 'creating');
  await inLanes(intents, 4, async ({ id, spec }) => {
    const backend = backends.find((candidate) => candidate.name === spec.backend);
    try {
      await undoVolume(snapshots, { id, spec, ...(backend && { backend }) }, signal);
      snapshotRecords.forget(id);
      log.info({ snapshotId: id }, 'half-made snapshot of an earlier process removed');
    } catch (error) {
      // stays an intent: never served, tried again by the next create of this name or the next start
      log.error({ snapshotId: id, error: messageOf(error) }, 'half-made snapshot cannot be removed');
    }
  });
  for (const [id, error] of snapshotRecords.allBroken()) {
    log.error({ snapshotId: id, error: error.message }, 'snapshot kept, its record cannot be read');
  }
}
