import { describe, expect, test } from 'vitest';
import { chooseBackend, noBackendError, type BackendOffer } from '../../../src/volumes/choose-backend.ts';

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
