import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { diskMarkName } from '../../../src/backends/backend.ts';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { formatRecord, type VolumeRecord } from '../../../src/volumes/records/record.ts';
import { Trash, type TrashOptions } from '../../../src/volumes/trash/trash.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';
import { aRecord } from '../../support/volume-record.ts';

const { signal } = new AbortController();
const id = volumeIdOf('sdb-1');
const soon = () => AbortSignal.timeout(8000);

const ofDirectory = aRecord(id);
const record: VolumeRecord = {
  ...ofDirectory,
  spec: {
    ...ofDirectory.spec,
    backend: 'disk',
    limit: 'enforced',
    disk: { entry: 'sdb', type: 'ext4', uuid: '1b4e28ba-2fa1-11d2-883f-0016d3cca427' },
  },
};

function trashOf(scratch: ScratchDirectory, options: Partial<TrashOptions>): Trash {
  const clock = new ManualClock();
  const pool = scratch.directory;
  const parts = { pool, poolName: 'one', pace: unlimitedPace, log: silentLog, metrics: noMetrics };
  return new Trash({ ...parts, clock, signal, ...options });
}

function makeVolume(scratch: ScratchDirectory): void {
  const path = scratch.at('volumes', id);
  mkdirSync(path, { recursive: true });
  writeFileSync(`${path}/volume.json`, formatRecord(record));
  writeFileSync(`${path}/${diskMarkName}`, '');
}

it('empties a disk once: what fails afterwards does not have it emptied again, when others may have it', async () => {
  await using scratch = await ScratchDirectory.make();
  await using volumes = await scratch.directory.ensureChild('volumes', 0o700);
  let emptied = 0;
  const destroyElsewhere = async (): Promise<void> => void (emptied += 1);
  const failing = trashOf(scratch, {
    destroyElsewhere,
    discard: async () => Promise.reject(new StorageError('host-failure', 'not now')),
  });
  makeVolume(scratch);
  await failing.take(volumes, id);
  await expect(failing.whenRemoved(id, soon())).rejects.toMatchObject({ reason: 'host-failure' });
  await failing.stop();
  const [entry = ''] = readdirSync(scratch.at('trash'));
  expect(existsSync(scratch.at('trash', entry, diskMarkName))).toBe(false);

  const next = trashOf(scratch, { destroyElsewhere });
  await next.load();
  await next.whenRemoved(id, soon());
  await next.stop();
  expect(readdirSync(scratch.at('trash'))).toEqual([]);
  expect(emptied).toBe(1);
});

it('empties it again where that failed', async () => {
  await using scratch = await ScratchDirectory.make();
  await using volumes = await scratch.directory.ensureChild('volumes', 0o700);
  const failing = trashOf(scratch, {
    destroyElsewhere: async () => Promise.reject(new StorageError('in-use', 'not now')),
  });
  makeVolume(scratch);
  await failing.take(volumes, id);
  await expect(failing.whenRemoved(id, soon())).rejects.toMatchObject({ reason: 'in-use' });
  await failing.stop();
  let emptied = 0;
  const next = trashOf(scratch, { destroyElsewhere: async () => void (emptied += 1) });
  await next.load();
  await next.whenRemoved(id, soon());
  await next.stop();
  expect(emptied).toBe(1);
});
