import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { StorageError } from '../../../src/model/errors.ts';
import { checkFormattable } from '../../../src/host/filesystems.ts';
import { spaceOf } from '../../../src/volumes/space/capacity.ts';
import { chooseBackend, noBackendError, type BackendOffer } from '../../../src/volumes/choose-backend.ts';
import { isLinkable } from '../../../src/volumes/pools/claim-links.ts';
import { readCreateRequest, smallestSize, specOf } from '../../../src/volumes/plan-volume.ts';
import { decideMarker } from '../../../src/volumes/pools/pool-marker.ts';
import { blockCapability, createRequest, GiB, mountCapability } from '../../support/volume-lab.ts';

function reasonOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as StorageError).reason;
  }
  return 'none';
}

describe('the space of a pool', () => {
  const rules = { overcommitRatio: 1, reservedShare: 0 };
  const empty = {
    totalBytes: 100n * GiB,
    availableBytes: 100n * GiB,
    promisedBytes: 0n,
    unwrittenBytes: 0n,
    pendingBytes: 0n,
  };

  test('is all of an empty disk', () => {
    expect(spaceOf(empty, rules).thinBytes).toBe(100n * GiB);
  });

  test('counts a promise in full though nothing is written', () => {
    expect(spaceOf({ ...empty, promisedBytes: 30n * GiB }, rules).thinBytes).toBe(70n * GiB);
  });

  test('is bounded by what is free on the disk, whoever uses it', () => {
    expect(spaceOf({ ...empty, availableBytes: 20n * GiB }, rules).thinBytes).toBe(20n * GiB);
  });

  test('keeps free what images were promised and have not written, where other data shares the disk', () => {
    const shared = { ...empty, availableBytes: 50n * GiB, promisedBytes: 40n * GiB };
    expect(spaceOf({ ...shared, unwrittenBytes: 40n * GiB }, rules).thinBytes).toBe(10n * GiB);
    expect(spaceOf({ ...shared, unwrittenBytes: 40n * GiB }, rules).thickBytes).toBeLessThanOrEqual(
      10n * GiB,
    );
    // once they are written they lie in what is not free any more
    expect(spaceOf({ ...shared, unwrittenBytes: 0n }, rules).thinBytes).toBe(50n * GiB);
    expect(spaceOf({ ...shared, unwrittenBytes: 60n * GiB }, rules).thinBytes).toBe(0n);
    expect(
      spaceOf({ ...shared, unwrittenBytes: 40n * GiB }, { ...rules, overcommitRatio: 2 }).thinBytes,
    ).toBe(60n * GiB);
  });

  test('may be promised several times to thin volumes, never to thick ones', () => {
    const space = spaceOf({ ...empty, promisedBytes: 50n * GiB }, { ...rules, overcommitRatio: 3 });
    expect(space.thinBytes).toBe(250n * GiB);
    expect(space.thickBytes).toBeLessThan(100n * GiB);
  });

  test('leaves the reserved share alone', () => {
    const space = spaceOf(empty, { ...rules, reservedShare: 0.1 });
    expect(space.thinBytes).toBe(90n * GiB);
    expect(space.largestThinBytes).toBe(90n * GiB);
  });

  test.each([
    // ratio, reserved, promised, available -> what is left of 100 GiB to promise
    [2, 0.1, 100n, 60n, 80n],
    [2, 0.1, 0n, 30n, 40n],
    [1.5, 0, 0n, 100n, 150n],
    [1.5, 0.2, 120n, 100n, 0n],
    [1, 0.5, 20n, 100n, 30n],
    [4, 0.25, 10n, 20n, 0n],
  ])(
    'at ratio %d with %d reserved, %d GiB promised and %d free, leaves %d',
    (ratio, share, promised, free, left) => {
      const space = spaceOf(
        { ...empty, promisedBytes: promised * GiB, availableBytes: free * GiB },
        { overcommitRatio: ratio, reservedShare: share },
      );
      expect(space.thinBytes).toBe(left * GiB);
    },
  );

  test('does not give out twice what is being allocated', () => {
    const space = spaceOf({ ...empty, promisedBytes: 60n * GiB, pendingBytes: 60n * GiB }, rules);
    expect(space.thickBytes).toBeLessThanOrEqual(40n * GiB);
  });

  test('is never negative, never more than could ever be, and always whole blocks', () => {
    const bytes = fc.bigInt({ min: 0n, max: 1n << 50n });
    fc.assert(
      fc.property(
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        fc.double({ min: 0.1, max: 20, noNaN: true }),
        (total, a, p, q, u, ratio) => {
          const facts = {
            totalBytes: total,
            availableBytes: a < total ? a : total,
            promisedBytes: p,
            pendingBytes: q,
            unwrittenBytes: u,
          };
          const space = spaceOf(facts, { overcommitRatio: ratio, reservedShare: 0.05 });
          for (const size of Object.values(space)) {
            expect(size).toBeGreaterThanOrEqual(0n);
            expect(size % 4096n).toBe(0n);
          }
          expect(space.thinBytes).toBeLessThanOrEqual(space.largestThinBytes);
          expect(space.thickBytes).toBeLessThanOrEqual(space.largestThickBytes);
        },
      ),
    );
  });
});

describe('the choice of a backend', () => {
  const loopback: BackendOffer = {
    name: 'loopback',
    features: { fsTypes: ['ext4', 'xfs'], block: true, thick: true },
    probe: { usable: true, enforcesLimit: true, detail: 'loop devices work' },
  };
  const directory: BackendOffer = {
    name: 'directory',
    features: { fsTypes: [], block: false, thick: false },
    probe: { usable: true, enforcesLimit: false, detail: 'no quota' },
  };
  const wish = { backend: 'auto', limit: 'enforced', provisioning: 'thin', accessType: 'mount' } as const;
  const brokenLoopback: BackendOffer = {
    ...loopback,
    probe: { usable: false, detail: 'no /dev/loop-control' },
  };
  const named = (asked: object, offers: readonly BackendOffer[], isCopyOnWrite = false): string => {
    const choice = chooseBackend({ ...wish, ...asked }, offers, { isCopyOnWrite, trustsTenants: false });
    return choice.kind === 'chosen' ? choice.offer.name : `${choice.refusal.reason}: ${choice.refusal.text}`;
  };

  test('auto takes an image, whose limit holds', () => {
    expect(named({}, [directory, loopback])).toBe('loopback');
  });

  test('auto takes a directory where loop devices do not work and the class accepts an advisory limit', () => {
    expect(named({ limit: 'advisory' }, [brokenLoopback, directory])).toBe('directory');
  });

  test('auto refuses a directory without a limit, and says what failed for both', () => {
    const refusal = named({}, [brokenLoopback, directory]);
    expect(refusal).toMatch(/^limit-not-enforced/);
    expect(refusal).toContain('no /dev/loop-control');
    expect(refusal).toContain('limit: advisory');
  });

  const quota = {
    usable: true,
    enforcesLimit: true,
    holdsAgainst: 'trusted',
    detail: 'qgroups hold',
  } as const;
  const btrfs: BackendOffer = { name: 'btrfs', features: directory.features, probe: quota };
  const withQuota: BackendOffer = { ...directory, probe: quota };
  const byTrust = (asked: object, offers: readonly BackendOffer[], trustsTenants: boolean): string => {
    const choice = chooseBackend({ ...wish, ...asked }, offers, { isCopyOnWrite: false, trustsTenants });
    return choice.kind === 'chosen' ? choice.offer.name : `${choice.refusal.reason}: ${choice.refusal.text}`;
  };

  test.each([
    ['btrfs', {}, [loopback, withQuota, btrfs]],
    ['directory', {}, [loopback, withQuota]],
    ['btrfs', { limit: 'advisory' }, [loopback, withQuota, btrfs]],
    ['loopback', {}, [loopback, directory]],
    ['loopback', { limit: 'advisory' }, [loopback, directory]],
    ['loopback', {}, [loopback, { ...btrfs, probe: { usable: false, detail: 'no btrfs' } as const }]],
    ['loopback', { accessType: 'block' }, [loopback, withQuota, btrfs]],
    ['loopback', { fsType: 'xfs' }, [loopback, withQuota, btrfs]],
    ['loopback', { provisioning: 'thick' }, [loopback, withQuota, btrfs]],
  ] as const)(
    'auto takes %s for %j where tenants are trusted, and loopback where not',
    (best, asked, offers) => {
      expect(byTrust(asked, offers, true)).toBe(best);
      expect(byTrust(asked, offers, false)).toBe('loopback');
    },
  );

  test.each(['btrfs', 'directory'])(
    '%s by name is refused to tenants who could get around its limit',
    (backend) => {
      const offers = [loopback, withQuota, btrfs];
      expect(byTrust({ backend }, offers, true)).toBe(backend);
      expect(byTrust({ backend, limit: 'advisory' }, offers, false)).toBe(backend);
      expect(byTrust({ backend }, offers, false)).toMatch(
        /^limit-not-enforced: .*can get around.*backend: loopback.*tenants=trusted.*limit: advisory/,
      );
    },
  );

  test.each([
    [{ backend: 'directory', accessType: 'block' }, /unsupported-capability.*raw block/],
    [{ backend: 'directory', limit: 'advisory', fsType: 'xfs' }, /unsupported-capability.*not xfs/],
    [{ backend: 'directory' }, /limit-not-enforced/],
    [{ fsType: 'btrfs' }, /unsupported-capability.*ext4, xfs, not btrfs/],
  ])('refuses %j with advice', (asked, message) => {
    expect(named(asked, [loopback, directory])).toMatch(message);
  });

  test.each(['zero', 'random'] as const)('refuses scrub: %s where overwriting writes elsewhere', (scrub) => {
    expect(named({ scrub }, [loopback], true)).toMatch(/^cannot-erase: .*copy-on-write.*scrub: discard/);
    expect(named({ scrub }, [loopback], false)).toBe('loopback');
  });

  test('serves scrub: discard, and no scrub at all, wherever', () => {
    expect(named({ scrub: 'discard' }, [loopback], true)).toBe('loopback');
    expect(named({}, [loopback], true)).toBe('loopback');
  });

  test('an error says why for each pool', () => {
    const error = noBackendError(
      new Map([
        ['fast', { reason: 'unsupported-capability', text: 'a' }],
        ['slow', { reason: 'limit-not-enforced', text: 'b' }],
      ]),
    );
    expect(error.message).toContain('pool fast: a; pool slow: b');
    expect(error.reason).toBe('limit-not-enforced');
  });
});

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

describe('a configured folder', () => {
  const fresh = { path: '/p', marker: undefined, knownUuid: undefined, names: [], initialise: true };
  const marker = { schema: 1, uuid: 'u', createdAt: 't' } as const;

  test('with a marker is a pool', () => {
    expect(decideMarker({ ...fresh, marker, knownUuid: 'other' }).kind).toBe('use');
  });
  test('that is empty becomes one where it may', () => {
    expect(decideMarker(fresh).kind).toBe('create');
    expect(decideMarker({ ...fresh, names: ['lost+found'] }).kind).toBe('create');
    expect(decideMarker({ ...fresh, initialise: false })).toMatchObject({
      kind: 'refuse',
      why: expect.stringMatching(/initialise/) as unknown,
    });
  });
  test('that is not empty never becomes one', () => {
    expect(decideMarker({ ...fresh, names: ['home'] })).toMatchObject({
      kind: 'refuse',
      why: expect.stringMatching(/not empty \(home\)/) as unknown,
    });
  });
  test('that was a pool and has no marker is a disk that is not mounted', () => {
    expect(decideMarker({ ...fresh, knownUuid: 'u' })).toMatchObject({
      kind: 'refuse',
      why: expect.stringMatching(/not mounted/) as unknown,
    });
  });
});

test.each([
  ['team', 'data', true],
  ['team', 'data-web-0.x', true],
  ['..', 'data', false],
  ['team', '..', false],
  ['team', 'a/b', false],
  ['Team', 'data', false],
  ['team', '', false],
])('claim %s/%s becomes a link: %s', (namespace, name, expected) => {
  expect(isLinkable({ namespace, name })).toBe(expected);
});
