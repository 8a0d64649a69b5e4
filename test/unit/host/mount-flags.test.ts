import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkMountFlags } from '../../../src/host/mount-flags.ts';

describe('checkMountFlags', () => {
  it('sorts flags by what they belong to', () => {
    expect(checkMountFlags(['noatime', 'data=ordered', 'ro', 'discard', 'nosuid'], 'ext4')).toEqual({
      perMount: ['noatime', 'nosuid'],
      ofFileSystem: ['data=ordered', 'discard'],
      readonly: true,
    });
  });

  it.each([
    ['ext4', 'commit=30'],
    ['ext4', 'errors=continue'],
    ['ext4', 'noauto_da_alloc'],
    ['xfs', 'nouuid'],
    ['xfs', 'allocsize=64m'],
    ['btrfs', 'compress=zstd:3'],
    ['btrfs', 'discard=async'],
    ['btrfs', 'nodatacow'],
  ] as const)('lets %s have %s', (fsType, flag) => {
    expect(checkMountFlags([flag], fsType).ofFileSystem).toEqual([flag]);
  });

  it.each([
    ['ext4', 'bind'],
    ['ext4', 'remount'],
    ['ext4', 'loop'],
    ['ext4', 'move'],
    ['ext4', 'rshared'],
    ['ext4', 'dev'],
    ['ext4', 'x-mount.mkdir'],
    ['ext4', 'X-mount.owner=0'],
    ['ext4', 'noatime,dev'],
    ['ext4', 'commit=30,suid'],
    ['ext4', 'noatime\nbind'],
    ['ext4', 'errors=panic'],
    ['ext4', 'journal_path=/dev/sda'],
    ['ext4', 'context=system_u:object_r:x:s0'],
    ['ext4', 'compress=zstd'],
    ['xfs', 'logdev=/dev/sda'],
    ['btrfs', 'device=/dev/sda'],
    ['btrfs', 'subvol=/'],
    [undefined, 'discard'],
    [undefined, 'data=ordered'],
    [undefined, ''],
  ] as const)('refuses %s %j', (fsType, flag) => {
    expect(() => checkMountFlags(['noatime', flag], fsType)).toThrow(/mount option .* is not allowed/);
  });

  it('never lets a comma, a blank or a line end through', () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom('ext4', 'xfs', 'btrfs', undefined), (flag, fsType) => {
        if (!/[,\s=/]/.test(flag)) return;
        expect(() => checkMountFlags([`noatime${flag}`], fsType)).toThrow();
      }),
    );
  });
});
