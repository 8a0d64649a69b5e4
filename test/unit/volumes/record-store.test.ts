import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { RecordStore } from '../../../src/volumes/records/record-store.ts';
import { heldFor, heldOf, heldVolumes } from '../../../src/volumes/held-volumes.ts';
import type { Pool } from '../../../src/volumes/pools/pool.ts';
import type { VolumeRecord } from '../../../src/volumes/records/record.ts';

const MiB = 1n << 20n;
let folder: string;
let directory: Directory;
let records: RecordStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'loam-records-'));
  directory = await Directory.open(folder);
  records = new RecordStore(directory);
});
afterEach(async () => {
  await directory.close();
  await rm(folder, { recursive: true });
});

function image(name: string, change: Partial<VolumeRecord['spec']> = {}): VolumeRecord {
  const spec = {
    id: volumeIdOf(name),
    backend: 'loopback',
    accessType: 'mount',
    sizeBytes: 100n * MiB,
    provisioning: 'thin',
    limit: 'enforced',
    ...change,
  } as const;
  const kept = { onDelete: 'delete', scrub: 'zero', sharing: 'none' } as const;
  return {
    schema: 1,
    name,
    state: 'ready',
    spec,
    parameters: {},
    ...kept,
    createdAtMs: 0,
    acknowledged: false,
  };
}

describe('the volumes that were made for a claim', () => {
  const shop = { namespace: 'shop', name: 'data' };
  const madeFor = (claim: typeof shop): string[] =>
    records.madeFor(claim).map(({ spec, claim: made }) => `${spec.id} ${made?.uid ?? ''}`);

  it('are found by its name, of whatever uid, and no others', () => {
    records.put({ ...image('a'), claim: { ...shop, uid: 'one' } });
    records.put({ ...image('b'), claim: { ...shop, uid: 'two' } });
    records.put({ ...image('c'), claim: { ...shop, namespace: 'lab', uid: 'three' } });
    records.put(image('d'));
    expect(madeFor(shop)).toEqual(['a one', 'b two']);
    expect(madeFor({ namespace: 'shop', name: 'other' })).toEqual([]);
  });

  it('are those that name it now: not what was recycled, given to another claim or deleted', () => {
    for (const name of ['a', 'b', 'c']) records.put({ ...image(name), claim: { ...shop, uid: name } });
    records.put(image('a'));
    records.put({ ...image('b'), claim: { namespace: 'shop', name: 'other', uid: 'o' } });
    records.forget('c');
    expect(madeFor(shop)).toEqual([]);
    expect(madeFor({ namespace: 'shop', name: 'other' })).toEqual(['b o']);
    records.put({ ...image('a'), claim: { ...shop, uid: 'again' } });
    expect(madeFor(shop)).toEqual(['a again']);
  });

  it('and the volume of an id are told without a look at all the others', () => {
    const pool = { name: 'fast', uuid: 'pool-1', records } as unknown as Pool;
    records.put({ ...image('a'), claim: { ...shop, uid: 'one' } });
    records.put({ ...image('begun'), state: 'creating', claim: { ...shop, uid: 'two' } });
    const owner = { namespace: 'shop', name: 'pod', uid: 'p', targetPath: '/pods/p' };
    records.put({ ...image('inline'), inline: owner, claim: { ...shop, uid: 'three' } });
    const held = heldVolumes([pool]);
    expect(held.map(({ volumeId }) => volumeId)).toEqual(['a']);
    records.all = () => expect.fail('a walk over all of them');
    expect(heldFor([pool], shop)).toEqual(held);
    expect(heldOf([pool], 'a')).toEqual(held);
    for (const id of ['begun', 'inline', 'nobody']) expect(heldOf([pool], id)).toEqual([]);
  });
});

describe('what images have not written yet', () => {
  it('is all of a thin image until it was looked at, and then the rest', () => {
    records.put(image('a'));
    expect(records.unwrittenBytes).toBe(100n * MiB);
    records.noteAllocated('a', 30n * MiB);
    expect(records.unwrittenBytes).toBe(70n * MiB);
    records.noteAllocated('a', 101n * MiB);
    expect(records.unwrittenBytes).toBe(0n);
  });

  it('outlives a change of the record and goes with it', () => {
    records.put(image('a'));
    records.put(image('b'));
    records.noteAllocated('a', 30n * MiB);
    records.put({ ...image('a'), acknowledged: true });
    expect(records.unwrittenBytes).toBe(170n * MiB);
    records.forget('a');
    expect(records.unwrittenBytes).toBe(100n * MiB);
    records.noteAllocated('a', 5n * MiB);
    records.forget('b');
    expect(records.unwrittenBytes).toBe(0n);
  });

  it('is nothing of a thick image, which has its space, and nothing of a directory, which is not known', () => {
    records.put(image('thick', { provisioning: 'thick' }));
    records.put(image('directory', { backend: 'directory', limit: 'advisory' }));
    expect(records.unwrittenBytes).toBe(0n);
  });
});
