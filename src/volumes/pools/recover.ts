import { basename, dirname } from 'node:path';
import type { Backend } from '../../backends/backend.ts';
import { inLanes } from '../../host/lanes.ts';
import { attachedDevices } from '../../host/loop-devices.ts';
import { thawImages } from '../../host/thaw-images.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import { clearHollow } from './clear-hollow.ts';
import type { Pool } from './pool.ts';
import { recordName } from '../records/record.ts';
import { recoverSnapshots } from './recover-snapshots.ts';
import { catchUp } from '../space/catch-up.ts';
import { removeUnfinished } from './remove-unfinished.ts';
import { undoVolume } from '../trash/undo-volume.ts';

/** What recovery is given besides the pool. */
export interface RecoveryOptions {
  readonly backends: readonly Backend[];
  readonly log: Log;
  readonly signal: AbortSignal;
  /** whether a volume is staged since this boot: then its loop device is wanted though nothing is mounted */
  readonly isStaged: (id: string) => boolean;
}

/**
 * Puts a pool in order before it serves, whatever line the last process died at: every record is read, half-made
 * volumes are removed, unfinished files too, loop devices that nobody uses are let go. Volumes whose record cannot be
 * read are kept and reported. Can itself be killed anywhere and repeated.
 */
export async function recoverPool(pool: Pool, options: RecoveryOptions): Promise<void> {
  const { log } = options;
  const report = await pool.records.scan();
  await removeUnfinished(pool.volumes, report.withUnfinished);
  for (const name of report.hollow) {
    if (await clearHollow(pool.volumes, name, recordName)) pool.records.forget(name);
  }
  await thawLeft(pool, options);
  const intents = [...pool.records.all()].filter((record) => record.state === 'creating');
  await inLanes(intents, 4, async (record) => {
    const { spec } = record;
    const backend = options.backends.find((candidate) => candidate.name === spec.backend);
    try {
      await undoVolume(pool.volumes, { id: spec.id, spec, ...(backend && { backend }) }, options.signal);
      pool.records.forget(spec.id);
      log.info({ volumeId: spec.id }, 'half-made volume of an earlier process removed');
    } catch (error) {
      // stays an intent: never served, removed by the claim loop, which is told of it, by the next create of this name or the next start
      log.error({ volumeId: spec.id, error: messageOf(error) }, 'half-made volume cannot be removed');
    }
  });
  for (const [id, error] of pool.records.allBroken()) {
    log.error({ volumeId: id, error: error.message }, 'volume kept, its record cannot be read');
  }
  await catchUpAll(pool, options);
  await recoverSnapshots(pool, options);
  await pool.claimLinks.reconcile(new Map([...pool.records.all()].map((record) => [record.spec.id, record])));
  await releaseUnused(pool, options);
  const snapshots = pool.snapshotRecords.size;
  log.info({ volumes: pool.records.size, snapshots, halfMade: intents.length }, 'pool recovered');
}

/** A growth may have been cut short between the data and the record. */
async function catchUpAll(pool: Pool, { backends, log }: RecoveryOptions): Promise<void> {
  const ready = [...pool.records.all()].filter((record) => record.state === 'ready');
  await inLanes(ready, 4, async (record) => {
    const volumeId = record.spec.id;
    const backend = backends.find((candidate) => candidate.name === record.spec.backend);
    try {
      const sizeBytes = backend && (await catchUp(pool, record, backend));
      if (sizeBytes !== undefined) {
        log.warn(
          { volumeId, sizeBytes: sizeBytes.toString() },
          'volume is larger than recorded, and counts as that',
        );
      }
    } catch (error) {
      log.error({ volumeId, error: messageOf(error) }, 'size of a volume cannot be compared with its record');
    }
  });
}

/** A pod that waits for a frozen volume can do so for ever; only a process that was killed while it took a copy leaves one. */
async function thawLeft(pool: Pool, { log, signal }: RecoveryOptions): Promise<void> {
  const isOurs = (path: string) => pool.records.get(basename(dirname(path))) !== undefined;
  try {
    for (const mountPath of await thawImages(isOurs, signal)) {
      log.warn({ mountPath }, 'volume that an earlier process left frozen is thawed');
    }
  } catch (error) {
    log.error(
      { error: messageOf(error) },
      'volumes that an earlier process may have left frozen cannot be thawed',
    );
  }
}

/** Looks at the attached loop devices, not at the volumes: there are few of the one and may be thousands of the other. */
async function releaseUnused(
  pool: Pool,
  { backends, log, signal, isStaged }: RecoveryOptions,
): Promise<void> {
  // The kernel may show a part of the path only, so the volume's folder is what counts; `release` looks closer.
  const attached = new Set(attachedDevices().map((device) => basename(dirname(device.backingFile))));
  await inLanes([...attached], 4, async (id) => {
    const record = pool.records.get(id);
    const backend = backends.find((candidate) => candidate.name === record?.spec.backend);
    if (record === undefined || backend === undefined || isStaged(id)) return;
    try {
      await backend.release(pool.place(record.spec.id), record.spec, signal);
    } catch (error) {
      log.warn({ volumeId: id, error: messageOf(error) }, 'loop device of an unused volume not let go');
    }
  });
}
