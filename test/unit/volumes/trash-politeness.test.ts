import { linkSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { formatRecord, type VolumeRecord } from '../../../src/volumes/records/record.ts';
import { Trash } from '../../../src/volumes/trash/trash.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';
import { aRecord } from '../../support/volume-record.ts';

const id = volumeIdOf('pvc-large');
const files = 20_000;
/** What is done before anybody finds out that the volume is a large one. */
const briefFiles = 500;
const briefBytes = 16 << 20;
/** Some tens of microseconds for each file, and the calls that come meanwhile wait for a few milliseconds at most. */
const mostFilesAtOnce = 100;
const mostBytesAtOnce = 4 << 20;

let scratch: ScratchDirectory;
beforeEach(async () => {
  scratch = await ScratchDirectory.make();
  mkdirSync(scratch.at('volumes', id, 'data'), { recursive: true });
});
afterEach(() => scratch[Symbol.asyncDispose]());

function writeRecord(how: Pick<VolumeRecord, 'onDelete' | 'scrub'>): void {
  writeFileSync(scratch.at('volumes', id, 'volume.json'), formatRecord(aRecord(id, how)));
}

/** Deletes the volume; `giveWay` is called whenever the trash asks whether others wait. */
async function destroy(giveWay: () => Promise<void>, pace = unlimitedPace): Promise<void> {
  const { signal } = new AbortController();
  const options = { pace, giveWay, log: silentLog, metrics: noMetrics, clock: new ManualClock(), signal };
  const trash = new Trash({ pool: scratch.directory, ...options });
  const volumes = await scratch.directory.openChild('volumes');
  try {
    await trash.take(volumes, id);
    await trash.whenRemoved(id, AbortSignal.timeout(60_000));
  } finally {
    await trash.stop();
    await volumes.close();
  }
}

describe('the removal of a large volume', () => {
  it('asks again and again whether others wait, and never takes the event loop for many files', async () => {
    // all of them are one file, whose links tell how many are left
    const file = scratch.at('file');
    writeFileSync(file, '');
    for (let index = 0; index < files; index += 1) {
      const folder = scratch.at('volumes', id, 'data', `folder-${index % 4}`);
      if (index < 4) mkdirSync(folder);
      linkSync(file, `${folder}/${index}`);
    }
    writeRecord({ onDelete: 'delete', scrub: 'zero' });
    const left = (): number => statSync(file).nlink - 1;
    let [leftAtAsk, asks, mostBetweenAsks] = [files - briefFiles, 0, 0];
    const over = new AbortController();
    let [leftAtTurn, mostInTurn] = [files, 0];
    const turns = (async () => {
      while (!over.signal.aborted) {
        const now = left();
        mostInTurn = Math.max(mostInTurn, leftAtTurn - now);
        leftAtTurn = now;
        await turn();
      }
    })();
    await destroy(async () => {
      const now = left();
      mostBetweenAsks = Math.max(mostBetweenAsks, leftAtAsk - now);
      leftAtAsk = now;
      asks += 1;
      await turn();
    });
    over.abort();
    await turns;
    expect(left()).toBe(0);
    expect(mostBetweenAsks).toBeLessThanOrEqual(mostFilesAtOnce);
    expect(asks).toBeGreaterThanOrEqual((files - briefFiles) / mostFilesAtOnce);
    expect(mostInTurn).toBeLessThanOrEqual(mostFilesAtOnce);
  }, 60_000);

  it('asks as often while it erases', async () => {
    writeFileSync(scratch.at('volumes', id, 'data', 'file'), Buffer.alloc(32 << 20, 'x'));
    writeRecord({ onDelete: 'scrub', scrub: 'zero' });
    let [announced, most, asks] = [0, 0, 0];
    const pace = {
      ...unlimitedPace,
      bytes: async (count: number) => {
        announced += count;
        if (asks > 0) most = Math.max(most, announced);
      },
    };
    await destroy(async () => {
      announced = 0;
      asks += 1;
      await turn();
    }, pace);
    expect(most).toBeLessThanOrEqual(mostBytesAtOnce);
    expect(asks).toBeGreaterThanOrEqual(((32 << 20) - briefBytes) / mostBytesAtOnce);
  }, 60_000);
});
