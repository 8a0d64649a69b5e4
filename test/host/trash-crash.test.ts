import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unlimitedPace } from '../../src/host/pace.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { formatRecord } from '../../src/volumes/records/record.ts';
import { Trash } from '../../src/volumes/trash/trash.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';
import { aRecord } from '../support/volume-record.ts';

const { signal } = new AbortController();
const secret = 'scrubbed words of a volume';
const whyNot = whyNoScratchPool('ext4');
const program = join(import.meta.dirname, '../support/trash-process.ts');

function makeVolume(pool: ScratchPool, index: number): void {
  const id = volumeIdOf(`pvc-${index}`);
  const isScrubbed = index % 2 === 0;
  mkdirSync(pool.at('volumes', id, 'data/a'), { recursive: true });
  for (let file = 0; file < 20; file += 1) {
    const content = isScrubbed ? secret.padEnd(4096, '.').repeat(25) : 'plain';
    writeFileSync(pool.at('volumes', id, 'data/a', `${file}`), content);
  }
  const how = {
    onDelete: isScrubbed ? 'scrub' : 'delete',
    scrub: index % 4 === 0 ? 'zero' : 'random',
  } as const;
  writeFileSync(pool.at('volumes', id, 'volume.json'), formatRecord(aRecord(id, how)));
}

/** Starts the program and kills it some time after it began to work; false once it ended by itself. */
async function killedAfter(delayMs: number, poolPath: string): Promise<boolean> {
  const child = spawn(process.execPath, ['--no-warnings', program, poolPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const exited = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), exited]);
  const kill = setTimeout(() => child.kill('SIGKILL'), delayMs);
  const [exitCode] = (await exited) as [number | null];
  clearTimeout(kill);
  clearTimeout(deadline);
  return exitCode === null;
}

describe.skipIf(whyNot !== '')(`a process that is killed again and again while it deletes${whyNot}`, () => {
  it('never removes what it did not scrub first, and the next one ends the work', async () => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('volumes'));
    for (let index = 0; index < 12; index += 1) makeVolume(pool, index);
    await pool.unmount();
    expect(pool.rawCount(secret)).toBe(6 * 20 * 25);
    pool.mount();
    let kills = 0;
    for (let round = 0; round < 15; round += 1) {
      if (await killedAfter(Math.random() * 150, pool.path)) kills += 1;
      else break;
    }
    expect(kills).toBeGreaterThan(3);

    const trash = new Trash({
      pool: await pool.directory(),
      pace: unlimitedPace,
      log: silentLog,
      metrics: noMetrics,
      clock: systemClock,
      signal,
    });
    await trash.load();
    await using volumes = await (await pool.directory()).openChild('volumes');
    for (const name of await volumes.names()) await trash.take(volumes, volumeIdOf(name));
    for (const { id } of trash.entries()) await trash.whenRemoved(id, AbortSignal.timeout(20_000));
    await trash.stop();
    expect(readdirSync(pool.at('trash'))).toEqual([]);
    expect(readdirSync(pool.at('volumes'))).toEqual([]);
    await volumes.close();
    await pool.unmount();
    expect(pool.rawCount(secret)).toBe(0);
  }, 120_000);
});
