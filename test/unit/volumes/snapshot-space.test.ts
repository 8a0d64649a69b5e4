import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { VolumeSpec } from '../../../src/model/volume.ts';
import { snapshotIdOf } from '../../../src/model/snapshot-id.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { PinnedSpace } from '../../../src/volumes/space/pinned-space.ts';
import { whyNearlyFull } from '../../../src/volumes/pools/pool-condition.ts';
import {
  formatSnapshotRecord,
  parseSnapshotRecord,
  type SnapshotRecord,
} from '../../../src/volumes/records/snapshot-record.ts';
import { UnwrittenSpace } from '../../../src/volumes/space/unwritten-space.ts';
import { failureOf } from '../../support/failure-of.ts';
import { callFor, createRequest, diskOf, GiB, until, VolumeLab } from '../../support/volume-lab.ts';

const specOf = (name: string, changes: Partial<VolumeSpec> = {}): VolumeSpec => ({
  id: volumeIdOf(name),
  backend: 'loopback',
  accessType: 'mount',
  sizeBytes: 10n * GiB,
  fsType: 'ext4',
  provisioning: 'thin',
  limit: 'enforced',
  ...changes,
});

const recordOf = (name: string, changes: Partial<SnapshotRecord> = {}): SnapshotRecord => ({
  schema: 1,
  id: snapshotIdOf(name),
  name,
  state: 'ready',
  sourceVolumeId: volumeIdOf('a'),
  spec: specOf('a'),
  consistency: 'frozen',
  parameters: {},
  onDelete: 'delete',
  scrub: 'zero',
  createdAtMs: 1,
  writtenBytes: 4n * GiB,
  addedBytes: 4n * GiB,
  ...changes,
});

describe('a snapshot’s record', () => {
  test('is read as it was written, and by what a newer version adds', () => {
    const record = recordOf('s', { clusterUid: 'c', claim: { namespace: 'n', name: 'x', uid: 'u' } });
    const text = formatSnapshotRecord(record);
    expect(parseSnapshotRecord(text, '/s')).toEqual(record);
    const newer = JSON.stringify({ ...(JSON.parse(text) as object), invented: { later: true } });
    expect(parseSnapshotRecord(newer, '/s')).toEqual(record);
  });

  test.each([
    'id',
    'name',
    'state',
    'sourceVolumeId',
    'spec',
    'writtenBytes',
    'addedBytes',
    'onDelete',
    'schema',
  ])('without its %s is damage, and says so', (field) => {
    const fields = JSON.parse(formatSnapshotRecord(recordOf('s'))) as Record<string, unknown>;
    delete fields[field];
    expect(() => parseSnapshotRecord(JSON.stringify(fields), '/s')).toThrow(new RegExp(`/s.*${field}`));
  });
});

describe('what snapshots pin', () => {
  test('is what each added to those before it', () => {
    const pinned = new PinnedSpace();
    pinned.add(recordOf('s1'));
    pinned.add(recordOf('s2', { addedBytes: GiB }));
    pinned.add(recordOf('other', { sourceVolumeId: volumeIdOf('b'), writtenBytes: GiB, addedBytes: GiB }));
    expect(pinned.totalBytes).toBe(6n * GiB);
  });

  test('stays what the largest that is left has when the first is deleted', () => {
    const pinned = new PinnedSpace();
    const [first, second] = [recordOf('s1'), recordOf('s2', { addedBytes: GiB })];
    pinned.add(first);
    pinned.add(second);
    pinned.remove(first);
    expect(pinned.totalBytes).toBe(4n * GiB);
    pinned.remove(second);
    expect(pinned.totalBytes).toBe(0n);
  });

  test('comes to nothing when all are gone, in whatever order they come and go', () => {
    const one = fc.record({
      source: fc.constantFrom('a', 'b'),
      writtenBytes: fc.bigInt(0n, 100n),
      addedBytes: fc.bigInt(0n, 100n),
    });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 20 }), fc.infiniteStream(fc.nat()), (snapshots, picks) => {
        const pinned = new PinnedSpace();
        const there = snapshots.map(({ source, writtenBytes, addedBytes }, index) =>
          recordOf(`s${index}`, { sourceVolumeId: volumeIdOf(source), writtenBytes, addedBytes }),
        );
        for (const record of there) pinned.add(record);
        while (there.length > 0) {
          const most = (source: string) =>
            there
              .filter((record) => record.sourceVolumeId === source)
              .reduce((max, { writtenBytes }) => (writtenBytes > max ? writtenBytes : max), 0n);
          expect(pinned.totalBytes).toBeGreaterThanOrEqual(most('a') + most('b'));
          const [gone] = there.splice((picks.next().value ?? 0) % there.length, 1);
          if (gone !== undefined) pinned.remove(gone);
        }
        expect(pinned.totalBytes).toBe(0n);
      }),
    );
  });
});

describe('what images may yet take', () => {
  test('is what a thin one has not taken, and what it shares', () => {
    const space = new UnwrittenSpace();
    space.put(specOf('a'));
    expect(space.totalBytes).toBe(10n * GiB);
    space.noteAllocated('a', 4n * GiB);
    expect(space.totalBytes).toBe(6n * GiB);
    space.noteShared('a', 4n * GiB); // a snapshot
    expect(space.totalBytes).toBe(10n * GiB);
    space.noteShared('a', 3n * GiB); // 1 GiB overwritten since
    expect(space.totalBytes).toBe(9n * GiB);
    space.put(specOf('a', { sizeBytes: 12n * GiB }));
    expect(space.totalBytes).toBe(11n * GiB);
    space.forget('a');
    expect(space.totalBytes).toBe(0n);
  });

  test('is nothing for a thick one, until a snapshot shares its blocks', () => {
    const space = new UnwrittenSpace();
    space.put(specOf('a', { provisioning: 'thick' }));
    expect(space.totalBytes).toBe(0n);
    space.noteShared('a', 10n * GiB);
    expect(space.totalBytes).toBe(10n * GiB);
  });

  test('is not told of a directory', () => {
    const space = new UnwrittenSpace();
    space.put(specOf('a', { backend: 'directory' }));
    space.noteShared('a', GiB);
    expect(space.totalBytes).toBe(0n);
  });
});

describe('a pool', () => {
  test.each([
    [20n, 90n, undefined], // a fifth is free
    [9n, 5n, undefined], // little, but all that was promised
    [9n, 30n, 'pool fast has 9 GiB free and 30 GiB promised to images'],
  ])('with %s of 100 GiB free and %s promised says %s', (free, unwritten, says) => {
    const why = whyNearlyFull({
      name: 'fast',
      totalBytes: 100n * GiB,
      availableBytes: free * GiB,
      unwrittenBytes: unwritten * GiB,
    });
    if (says === undefined) expect(why).toBeUndefined();
    else expect(why).toContain(says);
  });
});

describe('a pool with snapshots', () => {
  let lab: VolumeLab;
  beforeEach(async () => {
    lab = await VolumeLab.make('one');
  });
  afterEach(() => lab.clear());

  const image = (name: string, gib = 4n) =>
    createRequest(name, {
      capacityRange: { requiredBytes: gib * GiB, limitBytes: 0n },
      parameters: { backend: 'loopback' },
    });
  const snapOf = (name: string) => ({ name, sourceVolumeId: 'a', parameters: {} });

  test('counts what they pin, and what the source may write again, until they are gone', async () => {
    const { service, pools } = await lab.start();
    await service.createVolume(image('a'), callFor());
    const pool = pools.open()[0];
    pool?.records.noteAllocated('a', 3n * GiB);
    lab.loopback.written = 3n * GiB;
    expect([pool?.promisedBytes(), pool?.records.unwrittenBytes]).toEqual([4n * GiB, GiB]);
    await service.createSnapshot(snapOf('s1'), callFor());
    expect([pool?.promisedBytes(), pool?.records.unwrittenBytes]).toEqual([7n * GiB, 4n * GiB]);
    // nothing was written since: the second pins nothing that the first does not
    await service.createSnapshot(snapOf('s2'), callFor());
    expect(pool?.promisedBytes()).toBe(7n * GiB);
    pool?.records.noteShared('a', 2n * GiB);
    await service.createSnapshot(snapOf('s3'), callFor());
    expect(pool?.promisedBytes()).toBe(8n * GiB);
    for (const name of ['s1', 's2', 's3']) await service.deleteSnapshot(`snap_${name}`, callFor());
    expect(pool?.promisedBytes()).toBe(4n * GiB);
  });

  test('counts the same after a restart, and asks again what is shared', async () => {
    const first = await lab.start();
    await first.service.createVolume(image('a'), callFor());
    lab.loopback.written = 3n * GiB;
    await first.service.createSnapshot(snapOf('s1'), callFor());
    const promised = first.pools.open()[0]?.promisedBytes();
    await first.stop();
    // the fake's image has a few bytes; with a snapshot in the pool they count as shared until they were looked at
    const next = await lab.start();
    expect(next.pools.open()[0]?.promisedBytes()).toBe(promised);
    expect(next.pools.open()[0]?.snapshotRecords.size).toBe(1);
  });

  test('has no room for a snapshot that would pin more than it can keep, and says with numbers', async () => {
    const { service, pools } = await lab.start({ statFileSystem: diskOf(6n * GiB) });
    await service.createVolume(image('a'), callFor());
    pools.open()[0]?.records.noteAllocated('a', 3n * GiB);
    lab.loopback.written = 3n * GiB;
    const failure = await failureOf(service.createSnapshot(snapOf('s'), callFor()));
    expect(failure).toMatchObject({ reason: 'out-of-space' });
    expect(String(failure)).toMatch(/keeps up to 3 GiB, pool one has 2 GiB to give of 6 GiB/);
    expect(await lab.namesIn('snapshots')).toEqual([]);
    expect(pools.open()[0]?.promisedBytes()).toBe(4n * GiB);
  });

  test('gives back what a snapshot that failed was counted for', async () => {
    const { service, pools } = await lab.start();
    await service.createVolume(image('a'), callFor());
    const pool = pools.open()[0];
    pool?.records.noteAllocated('a', 3n * GiB);
    lab.loopback.written = 3n * GiB;
    lab.loopback.duringCopy = async () => {
      throw new Error('it broke');
    };
    await expect(service.createSnapshot(snapOf('s'), callFor())).rejects.toMatchObject({
      reason: 'host-failure',
    });
    expect([pool?.promisedBytes(), pool?.records.unwrittenBytes]).toEqual([4n * GiB, GiB]);
  });

  test('counts what its source shares with a clone that came meanwhile, though the snapshot fails', async () => {
    const process = await lab.start();
    await process.service.createVolume(image('a'), callFor());
    lab.loopback.written = GiB;
    const copies: PromiseWithResolvers<void>[] = [];
    lab.loopback.duringCopy = () => {
      const copy = Promise.withResolvers<void>();
      copies.push(copy);
      return copy.promise;
    };
    const contentSource = { kind: 'volume', volumeId: 'a' } as const;
    const cloning = process.service.createVolume({ ...image('b'), contentSource }, callFor());
    await until(() => copies.length === 1);
    const capturing = failureOf(process.service.createSnapshot(snapOf('s'), callFor()));
    await until(() => copies.length === 2);
    copies[0]?.resolve();
    await cloning;
    copies[1]?.reject(new Error('it broke'));
    await capturing;
    expect(process.pools.open()[0]?.records.sharedBytes('a')).toBe(GiB);
  });

  test('tells every thin volume in it that it is nearly full', async () => {
    const { service } = await lab.start({
      pools: [lab.poolConfig('one', { overcommitRatio: 10 })],
      statFileSystem: diskOf(100n * GiB, 9n * GiB),
    });
    await service.createVolume(image('a', 50n), callFor());
    await service.createVolume(
      createRequest('thick', { parameters: { backend: 'loopback', provisioning: 'thick' } }),
      callFor(),
    );
    const { condition } = await service.getVolume('a');
    expect(condition.abnormal).toBe(true);
    expect(condition.message).toMatch(/^pool one has 9 GiB free and .* promised to images/);
    expect((await service.getVolume('thick')).condition.abnormal).toBe(false);
    const listed = await service.listVolumes({ maxEntries: 0, startingToken: '' });
    expect(listed.entries.map((entry) => entry.condition.abnormal)).toEqual([true, false]);
  });

  test('with thousands of one volume finds each at once', async () => {
    const { service, pools } = await lab.start();
    await service.createVolume(image('a'), callFor());
    const store = pools.open()[0]?.snapshotRecords;
    const from = performance.now();
    for (let index = 0; index < 5000; index += 1) {
      store?.put(recordOf(`s${index}`, { addedBytes: index === 0 ? 4n * GiB : 0n }));
    }
    expect(store?.pinnedBytes).toBe(4n * GiB);
    lab.loopback.written = 1n << 20n;
    await service.createSnapshot(snapOf('new'), callFor());
    expect((await service.listSnapshots({ maxEntries: 10, startingToken: '' })).entries).toHaveLength(10);
    const one = await service.listSnapshots({ maxEntries: 0, startingToken: '', snapshotId: 'snap_s4999' });
    expect(one.entries).toHaveLength(1);
    await service.deleteSnapshot('snap_new', callFor());
    expect(performance.now() - from).toBeLessThan(2000);
  });

  test('recovers a hundred of them at a start', async () => {
    const first = await lab.start();
    await first.service.createVolume(image('a'), callFor());
    const names = Array.from({ length: 120 }, (_, index) => `s${index}`);
    for (const name of names) await first.service.createSnapshot(snapOf(name), callFor());
    await writeFile(join(lab.poolPath(), 'snapshots', 'snap_s7', 'snapshot.json'), 'not json');
    await first.stop();
    const next = await lab.start();
    const listed = await next.service.listSnapshots({ maxEntries: 0, startingToken: '' });
    expect(listed.entries).toHaveLength(119);
    await Promise.all(names.slice(10).map((name) => next.service.deleteSnapshot(`snap_${name}`, callFor())));
    expect((await next.service.listSnapshots({ maxEntries: 0, startingToken: '' })).entries).toHaveLength(9);
  }, 60_000);
});
