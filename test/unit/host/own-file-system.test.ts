import { describe, expect, it } from 'vitest';
import { parseMountinfo, type Mount } from '../../../src/host/mountinfo.ts';
import { describeFolder } from '../../../src/host/own-file-system.ts';

function mount(root: string, mountPoint: string, fsType = 'ext4', source = '/dev/sda1'): Mount | undefined {
  return parseMountinfo(`30 20 8:1 ${root} ${mountPoint} rw - ${fsType} ${source} rw\n`)[0];
}

describe('a directory that is to be a file system of its own', () => {
  it.each<[what: string, Mount | undefined, path: string, inode: bigint]>([
    ['the root of a mounted disk', mount('/', '/mnt/fast'), '/mnt/fast', 2n],
    ['that root, bound into a container elsewhere', mount('/', '/pools/fast', 'xfs'), '/pools/fast', 128n],
    ['a btrfs subvolume that is mounted', mount('/fast', '/mnt/fast', 'btrfs'), '/mnt/fast', 256n],
    ['a btrfs subvolume below a mount', mount('/', '/mnt', 'btrfs'), '/mnt/fast', 256n],
  ])('may be %s', (_what, found, path, inode) => {
    expect(describeFolder(found, path, inode)).toBeUndefined();
  });

  it.each<[what: string, Mount | undefined, path: string, inode: bigint, why: string]>([
    [
      'a folder of the root disk',
      mount('/', '/'),
      '/mnt/fast',
      9n,
      'the folder /mnt/fast on the ext4 of /dev/sda1',
    ],
    [
      'a folder of the root disk, bound into a container',
      mount('/mnt/fast', '/mnt/fast'),
      '/mnt/fast',
      9n,
      'the folder /mnt/fast on the ext4 of /dev/sda1',
    ],
    [
      'a folder below a mounted disk',
      mount('/', '/mnt/fast'),
      '/mnt/fast/loam',
      9n,
      'the folder /loam on the ext4 of /dev/sda1',
    ],
    [
      'a folder of a btrfs that is bound',
      mount('/a', '/mnt/fast', 'btrfs', '/dev/sdb'),
      '/mnt/fast/loam',
      257n,
      'the folder /a/loam on the btrfs of /dev/sdb',
    ],
    [
      'inode 256 of another kind of file system',
      mount('/', '/'),
      '/p',
      256n,
      'the folder /p on the ext4 of /dev/sda1',
    ],
    ['unmounted', undefined, '/mnt/fast', 2n, 'on a file system that was unmounted'],
  ])('may not be %s', (_what, found, path, inode, why) => {
    expect(describeFolder(found, path, inode)).toBe(why);
  });
});
