import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideEarlyEnd, type RetainedVolume } from '../../../src/provisioner/reclaim/decide-early-end.ts';

const gib = 1n << 30n;

function retained(name: string, parts: Partial<RetainedVolume> = {}): RetainedVolume {
  return {
    name,
    volumeId: name,
    namespace: 'shop',
    poolUuid: 'pool-1',
    sizeBytes: gib,
    sinceMs: 0,
    freesRoom: true,
    ...parts,
  };
}

function pool(unpromisedGib: number, uuid = 'pool-1') {
  return {
    name: `name-of-${uuid}`,
    uuid,
    sizeBytes: 100n * gib,
    unpromisedBytes: BigInt(unpromisedGib) * gib,
  };
}

function endedOf(changes: Partial<Parameters<typeof decideEarlyEnd>[0]>): string[] {
  const ends = decideEarlyEnd({
    retained: [],
    leaving: new Map(),
    rooms: [],
    yieldBelowShare: 0.1,
    perNamespaceBytes: 0n,
    ...changes,
  });
  return ends.map(({ name }) => name);
}

describe('a pool with less room than its share', () => {
  const three = [
    retained('young', { sinceMs: 3 }),
    retained('old', { sinceMs: 1 }),
    retained('mid', { sinceMs: 2 }),
  ];

  it('takes the oldest, and only as many as it needs', () => {
    expect(endedOf({ retained: three, rooms: [pool(9)] })).toEqual(['old']);
    expect(endedOf({ retained: three, rooms: [pool(8)] })).toEqual(['old', 'mid']);
    expect(endedOf({ retained: three, rooms: [pool(-5)] })).toEqual(['old', 'mid', 'young']);
  });

  it('takes none at its share, or where none is asked for', () => {
    expect(endedOf({ retained: three, rooms: [pool(10)] })).toEqual([]);
    expect(endedOf({ retained: three, rooms: [pool(0)], yieldBelowShare: 0 })).toEqual([]);
  });

  it('counts what is being deleted as room', () => {
    const leaving = new Map([['pool-1', 2n * gib]]);
    expect(endedOf({ retained: three, rooms: [pool(8)], leaving })).toEqual([]);
    expect(endedOf({ retained: three, rooms: [pool(7)], leaving })).toEqual(['old']);
  });

  it('leaves what would give it nothing: volumes of other pools, archived and emptied ones', () => {
    const others = [
      retained('elsewhere', { poolUuid: 'pool-2' }),
      retained('archived', { freesRoom: false }),
    ];
    expect(endedOf({ retained: others, rooms: [pool(0), pool(50, 'pool-2')] })).toEqual([]);
  });

  it('says its numbers', () => {
    const [end] = decideEarlyEnd({
      retained: three,
      leaving: new Map(),
      rooms: [pool(9)],
      yieldBelowShare: 0.1,
      perNamespaceBytes: 0n,
    });
    expect(end?.why).toBe(
      'pool name-of-pool-1 has 9 GiB of 100 GiB left, less than the 10 GiB below which retained volumes yield',
    );
  });
});

describe('a namespace over its cap', () => {
  it('loses its oldest, and no other namespace does', () => {
    const volumes = [
      retained('b', { sinceMs: 2 }),
      retained('a', { sinceMs: 1 }),
      retained('c', { sinceMs: 3 }),
      retained('other', { namespace: 'bank', sizeBytes: 2n * gib }),
    ];
    expect(endedOf({ retained: volumes, perNamespaceBytes: 2n * gib })).toEqual(['a']);
    expect(endedOf({ retained: volumes, perNamespaceBytes: 1n }).sort()).toEqual(['a', 'b', 'c', 'other']);
    expect(endedOf({ retained: volumes, perNamespaceBytes: 0n })).toEqual([]);
  });

  it('gives its room to the pool before anybody else has to', () => {
    const volumes = [
      retained('first', { sinceMs: 1, namespace: 'bank' }),
      retained('second', { sinceMs: 2 }),
    ];
    const big = { ...retained('big', { sinceMs: 3, sizeBytes: 3n * gib }) };
    expect(endedOf({ retained: [...volumes, big], rooms: [pool(9)], perNamespaceBytes: 3n * gib })).toEqual([
      'second',
    ]);
  });
});

it('never ends one more than brings the pool to its share, nor a younger before an older one', () => {
  const volumes = fc.array(
    fc.record({ sinceMs: fc.nat(20), sizeBytes: fc.bigInt(0n, 5n * gib), freesRoom: fc.boolean() }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(volumes, fc.integer({ min: -20, max: 20 }), (parts, unpromisedGib) => {
      const all = parts.map((part, index) => retained(`v${index}`, part));
      const room = pool(unpromisedGib);
      const ended = new Set(endedOf({ retained: all, rooms: [room] }));
      const gone = all.filter(({ name }) => ended.has(name));
      const freed = gone.reduce((sum, { sizeBytes }) => sum + sizeBytes, room.unpromisedBytes);
      const kept = all.filter(({ name, freesRoom }) => freesRoom && !ended.has(name));
      const youngest = Math.max(...gone.map(({ sinceMs }) => sinceMs));
      expect(kept.every(({ sinceMs }) => sinceMs >= youngest)).toBe(true);
      if (kept.length > 0) expect(freed).toBeGreaterThanOrEqual(10n * gib);
      const most = gone.reduce((size, one) => (one.sizeBytes > size ? one.sizeBytes : size), 0n);
      if (gone.length > 0) expect(freed - most).toBeLessThan(10n * gib);
    }),
  );
});
