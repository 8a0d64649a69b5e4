import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readSuperblock } from '../../src/host/superblock.ts';
import type { FsType } from '../../src/model/volume.ts';
import type { Subject } from '../conformance/backend-subject.ts';
import { refusal } from '../support/refusal.ts';
import { ImageLab, live, MiB, quiet, strict, whyNoImageLab } from '../support/image-lab.ts';

describe.skipIf(whyNoImageLab !== '')(`copies of loopback volumes${whyNoImageLab}`, () => {
  let lab: ImageLab;
  afterEach(() => lab.clear());

  it('put nothing on the disk before their intent is there, and freeze nobody for one that fails', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('ext4');
    const { place, call } = lab.like(volume);
    const mayBegin = Promise.withResolvers<void>();
    const wish = { ...strict, mayBegin: mayBegin.promise };
    const making = lab.backend.capture(live(volume), place, wish, call);
    await expect.poll(() => isFrozen(volume.stagingPath), { timeout: 5000, interval: 5 }).toBe(true);
    expect(readdirSync(place.path)).toEqual([]);
    mayBegin.resolve();
    expect(await making).toEqual({ consistency: 'frozen' });
    expect(readdirSync(place.path)).toEqual(['image']);
    const other = lab.like(volume);
    const noIntent = Promise.reject(new Error('no intent'));
    noIntent.catch(() => {});
    const failing = { ...strict, mayBegin: noIntent };
    await expect(lab.backend.capture(live(volume), other.place, failing, call)).rejects.toThrow('no intent');
    expect(readdirSync(other.place.path)).toEqual([]);
    writeFileSync(join(volume.stagingPath, 'after'), 'x');
    await lab.end(volume);
  });

  it('keep their source from being unstaged while it is frozen, so that nobody hangs who stages it next', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('ext4');
    const { place, spec, call } = lab.like(volume);
    const mayBegin = Promise.withResolvers<void>();
    const wish = { ...strict, mayBegin: mayBegin.promise };
    const making = lab.backend.createFrom(live(volume), place, spec, wish, call);
    await expect.poll(() => isFrozen(volume.stagingPath), { timeout: 5000, interval: 5 }).toBe(true);
    const refused = await refusal(volume.unstage());
    expect(refused).toMatchObject({ reason: 'in-use' });
    mayBegin.resolve();
    expect(await making).toEqual({ consistency: 'frozen' });
    await lab.end(volume);
    await volume.stage();
    const writing = spawn('sh', ['-c', 'echo x > "$1"', 'sh', join(volume.stagingPath, 'after')]);
    await expect.poll(() => writing.exitCode, { timeout: 10_000, interval: 5 }).toBe(0);
    await lab.end(volume);
  });

  it('are made of one source at the same time, each as of one moment', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('ext4');
    writeFileSync(join(volume.stagingPath, 'file'), 'x');
    const making = [lab.clone(live(volume)), lab.clone(live(volume)), lab.snapshot(live(volume))];
    const made = await Promise.all(making);
    expect(made.map(({ consistency }) => consistency)).toEqual(['frozen', 'frozen', 'frozen']);
    writeFileSync(join(volume.stagingPath, 'after'), 'x');
    await lab.end(volume);
  });

  it('are made of their source, though a device of that name is mounted that is another image', async () => {
    lab = ImageLab.make('xfs');
    const volume = lab.plan('ext4');
    await volume.create();
    const folder = lab.pool.at(`elsewhere/${volume.spec.id}`);
    const mounted = lab.pool.at('elsewhere/mounted');
    mkdirSync(folder, { recursive: true });
    mkdirSync(mounted);
    execFileSync('cp', [volume.dataPath, join(folder, 'image')]);
    execFileSync('mount', ['-o', 'loop', join(folder, 'image'), mounted]);
    try {
      const { snapshot, consistency } = await lab.snapshot(live(volume));
      expect(consistency).toBe('quiet');
      expect(readFileSync(snapshot.dataPath).equals(readFileSync(volume.dataPath))).toBe(true);
      writeFileSync(join(mounted, 'after'), 'x');
    } finally {
      execFileSync('umount', [mounted]);
    }
  });

  describe.each([
    ['xfs', 'ext4'],
    ['xfs', 'xfs'],
    ['xfs', 'btrfs'],
    ['btrfs', 'ext4'],
    ['btrfs', 'xfs'],
  ] as const)('on a pool on %s, with %s on the image', (poolKind, fsType) => {
    it('hold what was synced before, in the order of writing, and mount clean beside their source', async () => {
      lab = ImageLab.make(poolKind);
      const volume = await lab.start(fsType);
      const writer = spawn(
        process.execPath,
        [
          '--no-warnings',
          join(import.meta.dirname, 'programs/append-synced.ts'),
          join(volume.stagingPath, 'log'),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      try {
        let told = '';
        writer.stdout.setEncoding('utf8').on('data', (text: string) => (told += text));
        const synced = () => Number(told.trimEnd().split('\n').at(-1));
        await expect.poll(synced, { timeout: 20_000, interval: 5 }).toBeGreaterThan(5);
        for (let round = 0; round < 3; round += 1) {
          const before = synced();
          const { snapshot, consistency } = await lab.snapshot(live(volume));
          expect(consistency).toBe('frozen');
          // an unmounted ext4 or btrfs has nothing to replay, and a frozen one neither
          const { needsReplay } = await readSuperblock(snapshot.dataPath, fsType);
          expect(needsReplay).not.toBe(true);
          await expect.poll(synced, { timeout: 20_000, interval: 5 }).toBeGreaterThan(before + 2);
          const after = synced();
          const { clone } = await lab.clone(quiet(snapshot));
          await clone.stage();
          const lines = readFileSync(join(clone.stagingPath, 'log'), 'utf8').trimEnd().split('\n');
          expect(lines).toEqual(lines.map((_, index) => `${index + 1}`));
          expect(lines.length).toBeGreaterThanOrEqual(before);
          expect(lines.length).toBeLessThanOrEqual(after + 1);
          await lab.end(clone);
          expect(whatCheckSays(fsType, clone.dataPath)).toBe('');
        }
      } finally {
        writer.kill('SIGKILL');
        await once(writer, 'exit');
      }
      await lab.end(volume);
    });

    it('are independent of their source, of a uuid of their own, and can be copied again', async () => {
      lab = ImageLab.make(poolKind);
      const volume = await lab.start(fsType);
      writeFileSync(join(volume.stagingPath, 'file'), 'first');
      const { clone, consistency } = await lab.clone(live(volume));
      expect(consistency).toBe('frozen');
      await clone.stage();
      writeFileSync(join(volume.stagingPath, 'file'), 'changed in the source');
      writeFileSync(join(clone.stagingPath, 'own'), 'of the clone');
      expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('first');
      expect(readdirSync(volume.stagingPath)).not.toContain('own');
      const { clone: second } = await lab.clone(live(clone));
      await second.stage();
      expect(readFileSync(join(second.stagingPath, 'own'), 'utf8')).toBe('of the clone');
      expect(new Set(await Promise.all([volume, clone, second].map(uuidOf))).size).toBe(3);
      await lab.end(volume);
      appendFileSync(join(second.stagingPath, 'own'), ', again');
      expect(readFileSync(join(clone.stagingPath, 'own'), 'utf8')).toBe('of the clone');
      await lab.end(second, clone);
    });

    it('are grown where more is asked for than the source has', async () => {
      lab = ImageLab.make(poolKind);
      const volume = await lab.start(fsType);
      const { clone } = await lab.clone(live(volume), { sizeBytes: 900n * MiB });
      expect(statSync(clone.dataPath, { bigint: true }).size).toBe(900n * MiB);
      await clone.stage();
      const { blocks, bsize } = statfsSync(clone.stagingPath, { bigint: true });
      expect(blocks * bsize).toBeGreaterThan(800n * MiB);
      await lab.end(clone, volume);
    });
  });

  it('of a snapshot are the same byte for byte, and leave it as it was', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('ext4');
    writeFileSync(join(volume.stagingPath, 'file'), 'x');
    const { snapshot } = await lab.snapshot(live(volume));
    const { snapshot: second } = await lab.snapshot(quiet(snapshot));
    expect(() => execFileSync('cmp', [snapshot.dataPath, second.dataPath])).not.toThrow();
    const before = statSync(snapshot.dataPath, { bigint: true });
    const { clone } = await lab.clone(quiet(snapshot));
    expect(statSync(snapshot.dataPath, { bigint: true }).mtimeNs).toBe(before.mtimeNs);
    expect(() => execFileSync('cmp', [snapshot.dataPath, clone.dataPath], { stdio: 'ignore' })).toThrow();
    expect(statSync(snapshot.dataPath).mode & 0o777).toBe(0o600);
    expect(await lab.backend.writtenBytes(snapshot.place)).toBe(before.blocks * 512n);
    await lab.end(volume);
  });

  it('of a block volume hold what was synced to the device', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('block', { sizeBytes: 32n * MiB });
    const device = openSync(deviceOf(volume), 'r+');
    writeSync(device, 'synced', 4096);
    fsyncSync(device);
    const { clone, consistency } = await lab.clone(live(volume), { sizeBytes: 64n * MiB });
    expect(consistency).toBe('atomic');
    writeSync(device, 'later!', 4096);
    closeSync(device);
    await clone.stage();
    expect(readAt(deviceOf(clone), 4096, 6)).toBe('synced');
    expect(readAt(deviceOf(volume), 4096, 6)).toBe('later!');
    await lab.end(clone, volume);
  });

  it('of a thick volume are thick, and share nothing', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('ext4', { provisioning: 'thick', sizeBytes: 64n * MiB });
    writeFileSync(join(volume.stagingPath, 'file'), 'kept');
    expect(await lab.backend.sharesBlocks(live(volume))).toBe(false);
    const { clone, consistency } = await lab.clone(live(volume), { sizeBytes: 96n * MiB });
    expect(consistency).toBe('frozen');
    const { size, blocks } = statSync(clone.dataPath, { bigint: true });
    expect(blocks * 512n).toBeGreaterThanOrEqual(size);
    expect(readdirSync(clone.place.path)).toEqual(['image']);
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('kept');
    await lab.end(clone, volume);
  });

  it('of a thick volume on btrfs share with a snapshot, though neither is copied on write', async () => {
    lab = ImageLab.make('btrfs');
    const volume = await lab.start('ext4', { provisioning: 'thick', sizeBytes: 64n * MiB });
    writeFileSync(join(volume.stagingPath, 'file'), 'kept');
    const { snapshot, consistency } = await lab.snapshot(live(volume));
    expect(consistency).toBe('frozen');
    const { clone } = await lab.clone(quiet(snapshot));
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('kept');
    await lab.end(clone, volume);
  });

  it('stop a writer at their own size, to 2 in 100, and their source stays usable', async () => {
    lab = ImageLab.make('xfs');
    const volume = await lab.start('ext4');
    const { clone } = await lab.clone(live(volume), { sizeBytes: 512n * MiB });
    await clone.stage();
    const { bavail, bsize } = statfsSync(clone.stagingPath);
    const file = openSync(join(clone.stagingPath, 'fill'), 'w');
    const chunk = Buffer.alloc(1 << 20, 1);
    let written = 0;
    expect(() => {
      for (;;) written += writeSync(file, chunk);
    }).toThrow(/ENOSPC/);
    closeSync(file);
    expect(Math.abs(written / (bavail * bsize) - 1)).toBeLessThan(0.02);
    writeFileSync(join(volume.stagingPath, 'file'), Buffer.alloc(1 << 20));
    await lab.end(clone, volume);
  });

  it('of an image with another file system than asked for are refused', async () => {
    lab = ImageLab.make('xfs');
    const volume = lab.plan('ext4');
    await volume.create();
    const clone = lab.like(volume, { fsType: 'xfs' });
    await expect(
      lab.backend.createFrom(quiet(volume), clone.place, clone.spec, strict, clone.call),
    ).rejects.toMatchObject({ reason: 'source-differs' });
    expect(readdirSync(clone.place.path)).toEqual([]);
  });
});

async function uuidOf({ dataPath, spec }: Subject): Promise<string | undefined> {
  return (await readSuperblock(dataPath, spec.fsType ?? 'ext4')).uuid;
}

function deviceOf(volume: Subject): string {
  const args = ['--noheadings', '--output', 'NAME', '-j', volume.dataPath];
  return execFileSync('losetup', args, { encoding: 'utf8' }).trim();
}

function readAt(path: string, offset: number, length: number): string {
  const args = ['-c', `dd if="${path}" bs=1 skip=${offset} count=${length} status=none`];
  return execFileSync('sh', args, { encoding: 'utf8' });
}

/** What the file system's own check finds wrong. */
function whatCheckSays(fsType: FsType, image: string): string {
  const checks: Record<FsType, [string, string[]]> = {
    ext4: ['e2fsck', ['-f', '-n', image]],
    xfs: ['xfs_repair', ['-n', '-f', image]],
    btrfs: ['btrfs', ['check', '--readonly', image]],
  };
  const [command, args] = checks[fsType];
  try {
    execFileSync(command, args, { stdio: 'pipe' });
    return '';
  } catch (error) {
    return String(error);
  }
}

/** Asked by freezing it: a file system is frozen once. */
function isFrozen(path: string): boolean {
  const { status, stderr } = spawnSync('fsfreeze', ['--freeze', path], { encoding: 'utf8' });
  if (status === 0) execFileSync('fsfreeze', ['--unfreeze', path]);
  return status !== 0 && /busy/i.test(stderr);
}
