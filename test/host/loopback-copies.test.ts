import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { CopySource, CopyWish } from '../../src/backends/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { reflinkFile } from '../../src/host/reflink.ts';
import { thawImages } from '../../src/host/thaw-images.ts';
import { readSuperblock } from '../../src/host/superblock.ts';
import type { FsType, VolumeSpec } from '../../src/model/volume.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { expectUnused, makeSubject, type Subject } from '../conformance/backend-subject.ts';
import { ScratchPool, whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';

const why = whyNoScratchPool('xfs') || whyNoScratchPool('btrfs');
const MiB = 1n << 20n;
const strict: CopyWish = { allowsLoose: false };
const fsTypes = ['ext4', 'xfs', 'btrfs'] as const;

describe.skipIf(why !== '')(`copies of loopback volumes${why}`, () => {
  const backend = new LoopbackBackend();
  let pool: ScratchPool;
  let count = 0;
  afterEach(async () => {
    await thawImages((path) => path.startsWith(pool.path), AbortSignal.timeout(10_000));
    try {
      await expect.poll(() => pool.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
    } finally {
      await pool.remove();
    }
  });

  const onPool = (kind: PoolKind, sizeMiB = 3072): void => {
    pool = ScratchPool.make(kind, sizeMiB);
  };
  const volumeOf = (kind: FsType | 'block', change: Partial<VolumeSpec> = {}): Subject => {
    count += 1;
    return makeSubject(pool, backend, {
      id: volumeIdOf(`pvc-${count}`),
      backend: 'loopback',
      provisioning: 'thin',
      limit: 'enforced',
      sizeBytes: 320n * MiB,
      ...(kind === 'block' ? { accessType: 'block' } : { accessType: 'mount', fsType: kind }),
      ...change,
    });
  };
  /** Another volume of the same shape. */
  const like = ({ spec }: Subject, change: Partial<VolumeSpec> = {}): Subject => {
    count += 1;
    return makeSubject(pool, backend, { ...spec, id: volumeIdOf(`pvc-${count}`), ...change });
  };
  const live = ({ place, spec }: Subject): CopySource => ({ place, spec, isLive: true });
  const quiet = ({ place, spec }: Subject): CopySource => ({ place, spec, isLive: false });
  const snapshotOf = async (source: CopySource) => {
    const snapshot = like({ spec: source.spec } as Subject);
    const { consistency } = await backend.capture(source, snapshot.place, strict, snapshot.call);
    return { snapshot, consistency };
  };
  const cloneOf = async (source: CopySource, change: Partial<VolumeSpec> = {}) => {
    const clone = like({ spec: source.spec } as Subject, change);
    const { consistency } = await backend.createFrom(source, clone.place, clone.spec, strict, clone.call);
    return { clone, consistency };
  };
  const uuidOf = async ({ dataPath, spec }: Subject) =>
    (await readSuperblock(dataPath, spec.fsType ?? 'ext4')).uuid;
  const start = async (kind: FsType | 'block', change: Partial<VolumeSpec> = {}): Promise<Subject> => {
    const volume = volumeOf(kind, change);
    await volume.create();
    await volume.stage();
    return volume;
  };
  const end = async (...volumes: readonly Subject[]): Promise<void> => {
    for (const volume of volumes) {
      await volume.unstage();
      await expectUnused(volume.users);
    }
  };

  describe.each([
    ['xfs', 'ext4'],
    ['xfs', 'xfs'],
    ['xfs', 'btrfs'],
    ['btrfs', 'ext4'],
    ['btrfs', 'xfs'],
  ] as const)('on a pool on %s, with %s on the image', (poolKind, fsType) => {
    it('hold what was synced before, in the order of writing, and mount clean beside their source', async () => {
      onPool(poolKind);
      const volume = await start(fsType);
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
          const { snapshot, consistency } = await snapshotOf(live(volume));
          expect(consistency).toBe('frozen');
          // an unmounted ext4 or btrfs has nothing to replay, and a frozen one neither
          const { needsReplay } = await readSuperblock(snapshot.dataPath, fsType);
          expect(needsReplay).not.toBe(true);
          await expect.poll(synced, { timeout: 20_000, interval: 5 }).toBeGreaterThan(before + 2);
          const after = synced();
          const { clone } = await cloneOf(quiet(snapshot));
          await clone.stage();
          const lines = readFileSync(join(clone.stagingPath, 'log'), 'utf8').trimEnd().split('\n');
          expect(lines).toEqual(lines.map((_, index) => `${index + 1}`));
          expect(lines.length).toBeGreaterThanOrEqual(before);
          expect(lines.length).toBeLessThanOrEqual(after + 1);
          await end(clone);
          expect(whatCheckSays(fsType, clone.dataPath)).toBe('');
        }
      } finally {
        writer.kill('SIGKILL');
        await once(writer, 'exit');
      }
      await end(volume);
    });

    it('are independent of their source, of a uuid of their own, and can be copied again', async () => {
      onPool(poolKind);
      const volume = await start(fsType);
      writeFileSync(join(volume.stagingPath, 'file'), 'first');
      const { clone, consistency } = await cloneOf(live(volume));
      expect(consistency).toBe('frozen');
      await clone.stage();
      writeFileSync(join(volume.stagingPath, 'file'), 'changed in the source');
      writeFileSync(join(clone.stagingPath, 'own'), 'of the clone');
      expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('first');
      expect(readdirSync(volume.stagingPath)).not.toContain('own');
      const { clone: second } = await cloneOf(live(clone));
      await second.stage();
      expect(readFileSync(join(second.stagingPath, 'own'), 'utf8')).toBe('of the clone');
      expect(new Set(await Promise.all([volume, clone, second].map(uuidOf))).size).toBe(3);
      await end(volume);
      appendFileSync(join(second.stagingPath, 'own'), ', again');
      expect(readFileSync(join(clone.stagingPath, 'own'), 'utf8')).toBe('of the clone');
      await end(second, clone);
    });

    it('are grown where more is asked for than the source has', async () => {
      onPool(poolKind);
      const volume = await start(fsType);
      const { clone } = await cloneOf(live(volume), { sizeBytes: 900n * MiB });
      expect(statSync(clone.dataPath, { bigint: true }).size).toBe(900n * MiB);
      await clone.stage();
      const { blocks, bsize } = statfsSync(clone.stagingPath, { bigint: true });
      expect(blocks * bsize).toBeGreaterThan(800n * MiB);
      await end(clone, volume);
    });
  });

  it.each(fsTypes)('of a volume with %s that a crash left have its journal replayed', async (fsType) => {
    onPool('xfs');
    const volume = await start(fsType);
    const file = openSync(join(volume.stagingPath, 'file'), 'w');
    writeSync(file, 'synced');
    fsyncSync(file);
    closeSync(file);
    const crashed = like(volume);
    await reflinkFile(volume.dataPath, crashed.dataPath, crashed.call.signal);
    const { needsReplay } = await readSuperblock(crashed.dataPath, fsType);
    expect(needsReplay).not.toBe(false);
    const { clone, consistency } = await cloneOf(quiet(crashed));
    expect(consistency).toBe('quiet');
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('synced');
    await end(clone, volume);
  });

  it('of a snapshot are the same byte for byte, and leave it as it was', async () => {
    onPool('xfs');
    const volume = await start('ext4');
    writeFileSync(join(volume.stagingPath, 'file'), 'x');
    const { snapshot } = await snapshotOf(live(volume));
    const { snapshot: second } = await snapshotOf(quiet(snapshot));
    expect(() => execFileSync('cmp', [snapshot.dataPath, second.dataPath])).not.toThrow();
    const before = statSync(snapshot.dataPath, { bigint: true });
    const { clone } = await cloneOf(quiet(snapshot));
    expect(statSync(snapshot.dataPath, { bigint: true }).mtimeNs).toBe(before.mtimeNs);
    expect(() => execFileSync('cmp', [snapshot.dataPath, clone.dataPath], { stdio: 'ignore' })).toThrow();
    expect(statSync(snapshot.dataPath).mode & 0o777).toBe(0o600);
    expect(await backend.writtenBytes(snapshot.place)).toBe(before.blocks * 512n);
    await end(volume);
  });

  it('of a block volume hold what was synced to the device', async () => {
    onPool('xfs');
    const volume = await start('block', { sizeBytes: 32n * MiB });
    const device = openSync(deviceOf(volume), 'r+');
    writeSync(device, 'synced', 4096);
    fsyncSync(device);
    const { clone, consistency } = await cloneOf(live(volume), { sizeBytes: 64n * MiB });
    expect(consistency).toBe('atomic');
    writeSync(device, 'later!', 4096);
    closeSync(device);
    await clone.stage();
    expect(readAt(deviceOf(clone), 4096, 6)).toBe('synced');
    expect(readAt(deviceOf(volume), 4096, 6)).toBe('later!');
    await end(clone, volume);
  });

  it('of a thick volume are thick, and share nothing', async () => {
    onPool('xfs');
    const volume = await start('ext4', { provisioning: 'thick', sizeBytes: 64n * MiB });
    writeFileSync(join(volume.stagingPath, 'file'), 'kept');
    expect(await backend.sharesBlocks(live(volume))).toBe(false);
    const { clone, consistency } = await cloneOf(live(volume), { sizeBytes: 96n * MiB });
    expect(consistency).toBe('frozen');
    const { size, blocks } = statSync(clone.dataPath, { bigint: true });
    expect(blocks * 512n).toBeGreaterThanOrEqual(size);
    expect(readdirSync(clone.place.path)).toEqual(['image']);
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('kept');
    await end(clone, volume);
  });

  it('of a thick volume on btrfs share with a snapshot, though neither is copied on write', async () => {
    onPool('btrfs');
    const volume = await start('ext4', { provisioning: 'thick', sizeBytes: 64n * MiB });
    writeFileSync(join(volume.stagingPath, 'file'), 'kept');
    const { snapshot, consistency } = await snapshotOf(live(volume));
    expect(consistency).toBe('frozen');
    const { clone } = await cloneOf(quiet(snapshot));
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('kept');
    await end(clone, volume);
  });

  it.each(fsTypes)('killed anywhere, let the source go on and are made anew (%s)', async (fsType) => {
    onPool('xfs');
    const volume = await start(fsType);
    writeFileSync(join(volume.stagingPath, 'file'), 'kept');
    const clone = like(volume);
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
      .poll(() => cloneOf(live(volume)).then(({ clone: made }) => made.dataPath), { timeout: 20_000 })
      .toBeTruthy();
    await backend.createFrom(live(volume), clone.place, clone.spec, strict, clone.call);
    expect(readdirSync(clone.place.path)).toEqual(['image']);
    await clone.stage();
    expect(readFileSync(join(clone.stagingPath, 'file'), 'utf8')).toBe('kept after 220');
    await end(clone, volume);
  });

  describe('on a pool that cannot share blocks', () => {
    it('are full and sparse copies, and tell how far they are', async () => {
      onPool('ext4', 1024);
      const volume = await start('ext4');
      writeFileSync(join(volume.stagingPath, 'file'), Buffer.alloc(20 << 20, 'x'));
      await end(volume);
      expect(await backend.sharesBlocks(quiet(volume))).toBe(false);
      const told: bigint[] = [];
      const clone = like(volume, { sizeBytes: 400n * MiB });
      const wish = { ...strict, onProgress: (bytes: bigint) => void told.push(bytes) };
      const { consistency } = await backend.createFrom(
        quiet(volume),
        clone.place,
        clone.spec,
        wish,
        clone.call,
      );
      expect(consistency).toBe('quiet');
      expect(told.length).toBeGreaterThan(10);
      expect(told).toEqual(told.toSorted((left, right) => (left < right ? -1 : 1)));
      const written = (await backend.writtenBytes(clone.place)) ?? 0n;
      expect(written).toBeLessThan(40n * MiB);
      await volume.stage();
      await clone.stage();
      expect(readFileSync(join(clone.stagingPath, 'file')).equals(Buffer.alloc(20 << 20, 'x'))).toBe(true);
      await end(clone, volume);
    });

    it.each(['ext4', 'block'] as const)(
      'are refused of %s that is in use, whatever is accepted',
      async (kind) => {
        onPool('ext4', 1024);
        const volume = await start(kind, { sizeBytes: 32n * MiB });
        for (const provisioning of ['thin', 'thick'] as const) {
          const clone = like(volume, { provisioning });
          const wish = { allowsLoose: true };
          await expect(
            backend.createFrom(live(volume), clone.place, clone.spec, wish, clone.call),
          ).rejects.toMatchObject({
            reason: 'not-consistent',
            message: expect.stringMatching(/stop its pods first, .*pool on xfs or btrfs/) as string,
          });
          expect(readdirSync(clone.place.path)).toEqual([]);
        }
        await end(volume);
      },
    );

    it('leave nothing where the pool is full in the middle, or they are given up', async () => {
      onPool('ext4', 256);
      const volume = volumeOf('block', { sizeBytes: 160n * MiB });
      await volume.create();
      writeFileSync(volume.dataPath, Buffer.alloc(150 << 20, 'x'), { flag: 'r+' });
      const clone = like(volume);
      await expect(
        backend.createFrom(quiet(volume), clone.place, clone.spec, strict, clone.call),
      ).rejects.toMatchObject({ reason: 'out-of-space' });
      expect(readdirSync(clone.place.path)).toEqual([]);
      const stopping = new AbortController();
      const wish = { ...strict, onProgress: () => stopping.abort() };
      const snapshot = like(volume);
      await expect(
        backend.capture(quiet(volume), snapshot.place, wish, { signal: stopping.signal }),
      ).rejects.toMatchObject({ reason: 'cancelled' });
      expect(readdirSync(snapshot.place.path)).toEqual([]);
      expect(statfsSync(pool.path).bavail * statfsSync(pool.path).bsize).toBeGreaterThan(60 << 20);
    });

    it('hold the source as it was where that grows meanwhile, and are refused where it is written to', async () => {
      onPool('ext4', 1024);
      const volume = volumeOf('block', { sizeBytes: 64n * MiB });
      await volume.create();
      writeFileSync(volume.dataPath, Buffer.alloc(20 << 20, 'x'), { flag: 'r+' });
      const copyWhile = async (act: () => void) => {
        let hasActed = false;
        const onProgress = () => {
          if (!hasActed) act();
          hasActed = true;
        };
        const snapshot = like(volume);
        const wish = { ...strict, onProgress };
        await backend.capture(quiet(volume), snapshot.place, wish, snapshot.call);
        return snapshot;
      };
      const grown = await copyWhile(() => execFileSync('truncate', ['-s', '128M', volume.dataPath]));
      expect(statSync(grown.dataPath, { bigint: true }).size).toBe(64n * MiB);
      expect(() => execFileSync('cmp', ['-n', `${64 << 20}`, grown.dataPath, volume.dataPath])).not.toThrow();
      const written = copyWhile(() => writeFileSync(volume.dataPath, 'new', { flag: 'r+' }));
      await expect(written).rejects.toMatchObject({ reason: 'not-consistent' });
    });
  });

  it('stop a writer at their own size, to 2 in 100, and their source stays usable', async () => {
    onPool('xfs');
    const volume = await start('ext4');
    const { clone } = await cloneOf(live(volume), { sizeBytes: 512n * MiB });
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
    await end(clone, volume);
  });

  it('of an image with another file system than asked for are refused', async () => {
    onPool('xfs');
    const volume = volumeOf('ext4');
    await volume.create();
    const clone = like(volume, { fsType: 'xfs' });
    await expect(
      backend.createFrom(quiet(volume), clone.place, clone.spec, strict, clone.call),
    ).rejects.toMatchObject({ reason: 'source-differs' });
    expect(readdirSync(clone.place.path)).toEqual([]);
  });
});

/** By a process of its own, since a write to what stays frozen never ends. */
async function writeInTime(path: string, text: string): Promise<void> {
  const writer = spawn('sh', ['-c', 'printf %s "$2" > "$1"', 'sh', path, text], { stdio: 'ignore' });
  await expect.poll(() => writer.exitCode, { timeout: 10_000, interval: 5 }).toBe(0);
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
