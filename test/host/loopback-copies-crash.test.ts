import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fsyncSync, openSync, readFileSync, readdirSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { reflinkFile } from '../../src/host/reflink.ts';
import { readSuperblock } from '../../src/host/superblock.ts';
import { ImageLab, live, quiet, strict, whyNoImageLab } from '../support/image-lab.ts';

const fsTypes = ['ext4', 'xfs', 'btrfs'] as const;

describe.skipIf(whyNoImageLab !== '')(`copies of loopback volumes${whyNoImageLab}`, () => {
  let lab: ImageLab;
  afterEach(() => lab.clear());

  it.each(fsTypes)('of a volume with %s that a crash left have its journal replayed', async (fsType) => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start(fsType);
    const file = openSync(join(volume.stagingPath, 'file'), 'w');
    writeSync(file, 'synced');
    fsyncSync(file);
    closeSync(file);
    const crashed = lab.like(volume);
    await reflinkFile(volume.dataPath, crashed.dataPath, crashed.call.signal);
    const { needsReplay } = await readSuperblock(crashed.dataPath, fsType);
    expect(needsReplay).not.toBe(false);
    const { clone, consistency } = await lab.clone(quiet(crashed));
    expect(consistency).toBe('quiet');
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('synced');
    await lab.end(clone, volume);
  });

  it.each(fsTypes)('killed anywhere, let the source go on and are made anew (%s)', async (fsType) => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start(fsType);
    writeFileSync(join(volume.stagingPath, 'file'), 'kept');
    const clone = lab.like(volume);
    const program = join(import.meta.dirname, 'programs/clone-image.ts');
    const spec = JSON.stringify({ ...volume.spec, sizeBytes: volume.spec.sizeBytes.toString() });
    for (const delayMs of [1, 20, 40, 60, 80, 120, 160, 220]) {
      const args = ['--no-warnings', program, volume.place.path, clone.place.path, spec];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(child, 'exit');
      await Promise.race([once(child.stdout, 'data'), ended]);
      await sleep(delayMs);
      child.kill('SIGKILL');
      await ended;
      await writeInTime(join(volume.stagingPath, 'file'), `kept after ${delayMs}`);
      if (readdirSync(clone.place.path).includes('image')) execFileSync('rm', [clone.dataPath]);
    }
    // whoever froze it for the last of them may be about to thaw
    await expect
      .poll(() => lab.clone(live(volume)).then(({ clone: made }) => made.dataPath), { timeout: 20_000 })
      .toBeTruthy();
    await lab.backend.createFrom(live(volume), clone.place, clone.spec, strict, clone.call);
    expect(readdirSync(clone.place.path)).toEqual(['image']);
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('kept after 220');
    await lab.end(clone, volume);
  });
});

/** By a process of its own, since a write to what stays frozen never ends. */
async function writeInTime(path: string, text: string): Promise<void> {
  const writer = spawn('sh', ['-c', 'printf %s "$2" > "$1"', 'sh', path, text], { stdio: 'ignore' });
  await expect.poll(() => writer.exitCode, { timeout: 10_000, interval: 5 }).toBe(0);
}
