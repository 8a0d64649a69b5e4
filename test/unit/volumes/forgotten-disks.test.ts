import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { silentLog } from '../../../src/model/log.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { ForgottenDisks } from '../../../src/volumes/adoption/forgotten-disks.ts';
import { formatRecord } from '../../../src/volumes/records/record.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';
import { aRecord } from '../../support/volume-record.ts';

const id = volumeIdOf('sdb-1');
const disk = { entry: 'sdb', type: 'ext4', uuid: '1b4e28ba-2fa1-11d2-883f-0016d3cca427' };
const spec = { ...aRecord(id).spec, backend: 'disk', limit: 'enforced', disk } as const;

function makeVolume(scratch: ScratchDirectory): void {
  mkdirSync(scratch.at('volumes', id), { recursive: true });
  writeFileSync(scratch.at('volumes', id, 'volume.json'), formatRecord({ ...aRecord(id), spec }));
}

it('says of each disk where its note lies and since when, also after a restart', async () => {
  await using scratch = await ScratchDirectory.make();
  await using volumes = await scratch.directory.ensureChild('volumes', 0o700);
  const clock = new ManualClock();
  const disks = new ForgottenDisks(scratch.directory, clock, silentLog);
  makeVolume(scratch);
  await disks.take(volumes, id);
  const path = scratch.at('.forgotten', `${id}.${clock.nowMs()}`);
  expect(existsSync(path)).toBe(true);
  const restarted = new ForgottenDisks(scratch.directory, clock, silentLog);
  await restarted.load([]);
  for (const each of [disks, restarted])
    expect(each.all()).toMatchObject([{ path, sinceMs: clock.nowMs(), disk }]);
});

it.each(['.forgotten', '.forgotten/sdb-1.1700000000000'])(
  'knows a disk for a volume again whose note somebody has removed by hand: %s',
  async (removed) => {
    await using scratch = await ScratchDirectory.make();
    await using volumes = await scratch.directory.ensureChild('volumes', 0o700);
    const disks = new ForgottenDisks(scratch.directory, new ManualClock(), silentLog);
    makeVolume(scratch);
    await disks.take(volumes, id);
    expect(disks.all()).toHaveLength(1);
    rmSync(scratch.at(removed), { recursive: true });
    await disks.clear(disk);
    expect(disks.all()).toEqual([]);
    expect(existsSync(scratch.at('.forgotten'))).toBe(false);
  },
);
