import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  checkFormattable,
  metadataBytes,
  probeType,
  xfsFeatures,
  xfsPrototype,
} from '../../../src/host/filesystems.ts';
import { isCandidate, parseBackingFiles } from '../../../src/host/loop-devices.ts';
import { deviceNumber } from '../../../src/host/mounts.ts';

const MiB = 1n << 20n;

describe('file systems', () => {
  it.each([
    ['ext4', 8n * MiB],
    ['xfs', 300n * MiB],
    ['btrfs', 109n * MiB],
  ] as const)('refuse an image that is too small for %s, with the number', (fsType, least) => {
    expect(() => checkFormattable(fsType, least)).not.toThrow();
    expect(() => checkFormattable(fsType, least - 4096n)).toThrow(
      `${fsType} needs at least ${least / MiB} MiB`,
    );
  });

  it.each([
    ['ext4', 1n << 30n, 664n << 10n],
    ['ext4', 10n << 30n, 4336n << 10n],
    ['ext4', 1n << 40n, 16_096n << 10n],
    ['ext4', 8n << 40n, 114_976n << 10n],
    ['xfs', 1n << 30n, 65_904n << 10n],
    ['btrfs', 10n << 30n, 4680n << 10n],
  ] as const)('take at most the estimate: %s of %d bytes', (fsType, sizeBytes, measuredBytes) => {
    const estimate = metadataBytes(fsType, sizeBytes);
    expect(estimate).toBeGreaterThanOrEqual(measuredBytes);
    expect(estimate).toBeLessThan(measuredBytes * 2n);
  });

  it('write the root of xfs in the words of its prototype files', () => {
    expect(xfsPrototype({ mode: 0o770, uid: 0, gid: 0 })).toBe('/\n0 0\nd--770 0 0\n$\n');
    expect(xfsPrototype({ mode: 0o6005, uid: 7, gid: 8 })).toBe('/\n0 0\ndug005 7 8\n$\n');
  });

  it('turn features of xfs off that the kernel does not know', () => {
    expect(xfsFeatures('5.4.0-1-amd64')).toContain('bigtime=0,inobtcount=0');
    expect(xfsFeatures('5.10.0')).toContain('bigtime=1,inobtcount=1');
    expect(xfsFeatures('6.18.44-fc')).toContain('bigtime=1');
  });

  it('are recognised by their magic, and nothing else is', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'loam-magic-'));
    const write = (offset: number, bytes: string): string => {
      const content = Buffer.alloc(70_000);
      content.write(bytes, offset, 'latin1');
      const path = join(folder, 'image');
      writeFileSync(path, content);
      return path;
    };
    try {
      expect(await probeType(write(0, 'XFSB'))).toBe('xfs');
      expect(await probeType(write(1080, '\x53\xef'))).toBe('ext4');
      expect(await probeType(write(65600, '_BHRfS_M'))).toBe('btrfs');
      expect(await probeType(write(0, 'LUKS'))).toBeUndefined();
      writeFileSync(join(folder, 'short'), 'X');
      expect(await probeType(join(folder, 'short'))).toBeUndefined();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('loop devices', () => {
  it.each([
    ['/pool/volumes/pvc-1/image', true],
    ['/volumes/pvc-1/image', true],
    ['/pool/volumes/pvc-1/image (deleted)', true],
    ['/image', true],
    ['/pool/volumes/pvc-2/image', false],
    ['/pool/volumes/pvc-1/image.new', false],
  ])('may belong to an image when their file is called %s: %s', (backingFile, expected) => {
    expect(isCandidate(backingFile, '/pool/volumes/pvc-1/image')).toBe(expected);
  });

  it('are read from what losetup lists, without those that were detached meanwhile', () => {
    const listing = {
      loopdevices: [
        { name: '/dev/loop0', 'back-ino': 9977917, 'back-maj:min': '     254:0  ' },
        { name: '/dev/loop1', 'back-ino': '12', 'back-maj:min': '7:3' },
        { name: '/dev/loop2', 'back-ino': null, 'back-maj:min': null },
        null,
      ],
    };
    const found = [...parseBackingFiles(listing)];
    expect(found).toEqual([
      ['/dev/loop0', '254:0 9977917'],
      ['/dev/loop1', '7:3 12'],
    ]);
    expect([...parseBackingFiles('nonsense'), ...parseBackingFiles({ loopdevices: 1 })]).toEqual([]);
  });

  it('have the number that the kernel prints', () => {
    expect(deviceNumber(0xfe00n)).toBe('254:0');
    expect(deviceNumber(0x703n)).toBe('7:3');
    expect(deviceNumber(0x1000_0702n)).toBe('7:65538');
  });
});
