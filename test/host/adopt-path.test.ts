import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiskLab, MiB } from '../support/disk-lab.ts';
import { failureOf } from '../support/failure-of.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const sizeBytes = 64n * MiB;

/** Runs with something mounted, which is unmounted in any case. */
async function whileMounted(args: readonly string[], path: string, act: () => Promise<void>): Promise<void> {
  execFileSync('mount', [...args, path]);
  try {
    await act();
  } finally {
    execFileSync('umount', [path]);
  }
}

/** An image with a file system in which a file says "precious". */
async function makeImage(lab: DiskLab, fsType: 'ext4' | 'xfs' | 'btrfs', path: string): Promise<void> {
  const mountPoint = join(lab.disk.basePath, 'making');
  mkdirSync(mountPoint, { recursive: true });
  execFileSync('truncate', ['-s', fsType === 'ext4' ? '32M' : '320M', path]);
  execFileSync(`mkfs.${fsType}`, ['-q', path], { stdio: 'ignore' });
  await whileMounted(['-o', 'loop', path], mountPoint, async () =>
    writeFileSync(join(mountPoint, 'file'), 'precious'),
  );
}

const plain = whyNoScratchPool();
describe.skipIf(plain !== '')(`folders and images that are adopted${plain}`, () => {
  it.each(['ext4', 'xfs', 'btrfs'] as const)(
    'an image of %s is mounted for pods with what was in it',
    async (fsType) => {
      await using lab = await DiskLab.make('plain');
      const process = await lab.start();
      await makeImage(lab, fsType, lab.at('old.img'));
      const adopted = await process.service.adoptPath(lab.at('old.img'), {}, callFor());
      expect(adopted).toMatchObject({ fsType, accessType: 'mount', backend: 'loopback' });
      const { volumeId } = adopted;
      await lab.stage(process, volumeId);
      expect(readFileSync(join(lab.stagingOf(volumeId), 'file'), 'utf8')).toBe('precious');
      await lab.unstage(process, volumeId);
      await process.service.deleteVolume({ volumeId }, callFor());
      lab.expectEmpty(process);
    },
  );

  it('an image that is attached to a loop device is refused until it is let go', async () => {
    await using lab = await DiskLab.make('plain');
    const { service } = await lab.start();
    const path = lab.at('old.img');
    execFileSync('truncate', ['-s', '16M', path]);
    const device = execFileSync('losetup', ['--find', '--show', path], { encoding: 'utf8' }).trim();
    try {
      const failure = await failureOf(service.adoptPath(path, {}, callFor()));
      expect(failure).toMatchObject({ reason: 'in-use', message: expect.stringContaining(device) as string });
    } finally {
      execFileSync('losetup', ['--detach', device]);
    }
    expect(await service.adoptPath(path, {}, callFor())).toMatchObject({ accessType: 'block' });
  });

  it('a folder keeps its owners, modes and links, and is mounted for pods', async () => {
    await using lab = await DiskLab.make('plain');
    const process = await lab.start();
    const path = lab.at('discovery', 'orders');
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'file'), 'precious', { mode: 0o640 });
    execFileSync('chown', ['-R', '1234:4321', path]);
    const { volumeId } = await process.service.adoptPath(path, { sizeBytes }, callFor());
    await lab.stage(process, volumeId);
    const staged = statSync(join(lab.stagingOf(volumeId), 'file'));
    expect([staged.uid, staged.gid, staged.mode & 0o777]).toEqual([1234, 4321, 0o640]);
    await lab.unstage(process, volumeId);
    await process.service.deleteVolume({ volumeId }, callFor());
    expect(readdirSync(lab.at('discovery'))).toEqual([]);
    lab.expectEmpty(process);
  });

  it('a folder that is mounted elsewhere, or has a mount inside, is left where it is', async () => {
    await using lab = await DiskLab.make('plain');
    const { service } = await lab.start();
    const path = lab.at('old');
    const elsewhere = join(lab.disk.basePath, 'elsewhere');
    mkdirSync(join(path, 'inner'), { recursive: true });
    mkdirSync(elsewhere);
    const adopt = () => failureOf(service.adoptPath(path, { sizeBytes }, callFor()));
    await whileMounted(['--bind', path], elsewhere, async () => {
      expect(await adopt()).toMatchObject({
        reason: 'in-use',
        message: expect.stringContaining(elsewhere) as string,
      });
    });
    await whileMounted(['-t', 'tmpfs', 'none'], join(path, 'inner'), async () => {
      expect(await adopt()).toMatchObject({
        reason: 'in-use',
        message: expect.stringContaining('inner') as string,
      });
    });
    expect(readdirSync(lab.at('volumes'))).toEqual([]);
    expect(readdirSync(path)).toEqual(['inner']);
    await service.adoptPath(path, { sizeBytes }, callFor());
  });

  it('a disk that is mounted in the pool beside the discovery folder is refused', async () => {
    await using lab = await DiskLab.make('plain');
    const { service } = await lab.start();
    const path = lab.at('disk');
    mkdirSync(path);
    await whileMounted(['-t', 'tmpfs', 'none'], path, async () => {
      expect(await failureOf(service.adoptPath(path, { sizeBytes }, callFor()))).toMatchObject({
        reason: 'invalid-argument',
        message: expect.stringContaining('file system or subvolume of its own') as string,
      });
    });
  });
});

const btrfs = whyNoScratchPool('btrfs');
describe.skipIf(btrfs !== '')(`subvolumes that people made${btrfs}`, () => {
  it('are refused, and folders beside them are adopted', async () => {
    await using lab = await DiskLab.make('btrfs');
    const { service } = await lab.start();
    execFileSync('btrfs', ['subvolume', 'create', lab.at('sub')], { stdio: 'ignore' });
    expect(await failureOf(service.adoptPath(lab.at('sub'), { sizeBytes }, callFor()))).toMatchObject({
      reason: 'invalid-argument',
    });
    mkdirSync(lab.at('folder'));
    expect(await service.adoptPath(lab.at('folder'), { sizeBytes }, callFor())).toMatchObject({
      backend: 'directory',
    });
  });
});
