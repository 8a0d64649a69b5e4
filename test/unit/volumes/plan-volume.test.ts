import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { StorageError } from '../../../src/model/errors.ts';
import { checkFormattable } from '../../../src/host/filesystems.ts';
import { readCreateRequest, smallestSize, specOf } from '../../../src/volumes/plan-volume.ts';
import { blockCapability, createRequest, GiB, mountCapability } from '../../support/volume-lab.ts';

function reasonOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as StorageError).reason;
  }
  return 'none';
}

describe('a CreateVolume request', () => {
  const multi = (
    accessMode: 'MULTI_NODE_MULTI_WRITER' | 'MULTI_NODE_SINGLE_WRITER' | 'MULTI_NODE_READER_ONLY',
  ) => ({
    capabilities: [{ ...mountCapability, accessMode }],
  });
  const fsType = (name: string) => ({
    ...mountCapability,
    access: { kind: 'mount' as const, fsType: name, mountFlags: [] },
  });

  test.each([
    ['no name', '', {}, 'invalid-argument'],
    ['a name of 129 bytes', 'ä'.repeat(64) + 'x', {}, 'invalid-argument'],
    ['no capabilities', 'a', { capabilities: [] }, 'invalid-argument'],
    [
      'mount and block at once',
      'a',
      { capabilities: [mountCapability, blockCapability] },
      'unsupported-capability',
    ],
    ['two file systems', 'a', { capabilities: [fsType('ext4'), fsType('xfs')] }, 'unsupported-capability'],
    ['a file system nobody knows', 'a', { capabilities: [fsType('ntfs')] }, 'unsupported-capability'],
    [
      'another file system than the class',
      'a',
      { capabilities: [fsType('ext4')], parameters: { 'csi.storage.k8s.io/fstype': 'xfs' } },
      'unsupported-capability',
    ],
    ['many nodes', 'a', multi('MULTI_NODE_MULTI_WRITER'), 'unsupported-capability'],
    ['many readers', 'a', multi('MULTI_NODE_READER_ONLY'), 'unsupported-capability'],
    [
      'one writer among nodes',
      'a',
      { ...multi('MULTI_NODE_SINGLE_WRITER'), parameters: { sharing: 'node' } },
      'unsupported-capability',
    ],
    [
      'a source without an id',
      'a',
      { contentSource: { kind: 'snapshot' as const, snapshotId: '' } },
      'invalid-argument',
    ],
    ['a typo in the class', 'a', { parameters: { limits: 'advisory' } }, 'invalid-parameter'],
    [
      'a limit below the request',
      'a',
      { capacityRange: { requiredBytes: 2n, limitBytes: 1n } },
      'size-out-of-range',
    ],
    [
      'more than int64',
      'a',
      { capacityRange: { requiredBytes: 1n << 63n, limitBytes: 0n } },
      'size-out-of-range',
    ],
    [
      'the last bytes of int64',
      'a',
      { capacityRange: { requiredBytes: (1n << 63n) - 1n, limitBytes: 0n } },
      'size-out-of-range',
    ],
    ['a negative size', 'a', { capacityRange: { requiredBytes: -1n, limitBytes: 0n } }, 'size-out-of-range'],
  ])('with %s is refused', (_what, name, changes, reason) => {
    expect(reasonOf(() => readCreateRequest(createRequest(name, changes)))).toBe(reason);
  });

  test('of many nodes is served where the class shares a node', () => {
    const wanted = readCreateRequest(
      createRequest('a', { ...multi('MULTI_NODE_MULTI_WRITER'), parameters: { sharing: 'node' } }),
    );
    expect(wanted.parameters.sharing).toBe('node');
  });

  test('tells the claim, whose uid may be in the name', () => {
    const parameters = { 'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'team' };
    const wanted = readCreateRequest(createRequest('pvc-77', { parameters }));
    expect(wanted.claim).toEqual({ namespace: 'team', name: 'data', uid: '77' });
    expect(wanted.classParameters).toEqual({});
  });

  const features = { fsTypes: ['ext4', 'xfs', 'btrfs'], block: true, thick: true } as const;
  test.each([
    ['nothing', 0n, 0n, 'ext4', GiB],
    ['nothing, and a limit below the default', 0n, 10n << 20n, 'ext4', 10n << 20n],
    ['one byte', 1n, 0n, 'ext4', 8n << 20n],
    ['a byte over a block', (9n << 20n) + 1n, 0n, 'ext4', (9n << 20n) + 4096n],
    ['less than xfs can be', 1n << 20n, 0n, 'xfs', 300n << 20n],
    ['less than btrfs can be', 1n << 20n, 0n, 'btrfs', 128n << 20n],
  ])('for %s gets a size that can be made', (_what, requiredBytes, limitBytes, name, expected) => {
    const wanted = readCreateRequest(
      createRequest('a', {
        capacityRange: { requiredBytes, limitBytes },
        capabilities: [fsType(name)],
        parameters: {},
      }),
    );
    expect(specOf(wanted, { name: 'loopback', features }).sizeBytes).toBe(expected);
  });

  test.each(['ext4', 'xfs', 'btrfs'] as const)('is never less than what can be formatted as %s', (name) => {
    expect(() => checkFormattable(name, smallestSize(name))).not.toThrow();
  });

  test('whose limit is below the smallest file system is refused', () => {
    const range = { requiredBytes: 1n << 20n, limitBytes: 100n << 20n };
    const wanted = readCreateRequest(
      createRequest('a', { capacityRange: range, capabilities: [fsType('xfs')], parameters: {} }),
    );
    expect(reasonOf(() => specOf(wanted, { name: 'loopback', features }))).toBe('size-out-of-range');
  });

  test('of any range gets a size within it, or is refused', () => {
    const bytes = fc.bigInt({ min: 0n, max: 1n << 63n });
    fc.assert(
      fc.property(bytes, bytes, (requiredBytes, limitBytes) => {
        try {
          const wanted = readCreateRequest(
            createRequest('a', { capacityRange: { requiredBytes, limitBytes } }),
          );
          const { sizeBytes } = specOf(wanted, {
            name: 'directory',
            features: { fsTypes: [], block: false, thick: false },
          });
          expect(sizeBytes).toBeGreaterThanOrEqual(requiredBytes);
          if (limitBytes !== 0n) expect(sizeBytes).toBeLessThanOrEqual(limitBytes);
          expect(sizeBytes % 4096n).toBe(0n);
          expect(sizeBytes).toBeGreaterThan(0n);
        } catch (error) {
          expect((error as StorageError).reason).toBe('size-out-of-range');
        }
      }),
    );
  });
});
