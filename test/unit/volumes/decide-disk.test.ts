import { describe, expect, it } from 'vitest';
import { decideDisk, type ForgottenDisk, type KnownDisk } from '../../../src/volumes/adoption/decide-disk.ts';

const found = { type: 'ext4', uuid: 'u-1' };
const facts = {
  path: '/pool/discovery/sdb',
  poolUuid: 'pool-1',
  entry: 'sdb',
  found,
  known: [],
  forgotten: [],
  unknown: undefined,
  isPool: false,
  earlier: undefined,
};
const known = (changes: Partial<KnownDisk> = {}): KnownDisk => ({
  poolUuid: 'pool-1',
  volumeId: 'sdb-1',
  disk: { entry: 'sdb', ...found },
  isDeleted: false,
  ...changes,
});
const given: ForgottenDisk = {
  poolUuid: 'pool-1',
  volumeId: 'sdb-1',
  disk: { entry: 'sdb', ...found },
  claim: 'shop/data',
};
const obstacle = (text: string): unknown => ({
  kind: 'obstacle',
  why: expect.stringContaining(text) as string,
});

describe('an entry of a discovery folder', () => {
  it('is taken where a disk is mounted that nobody knows', () => {
    expect(decideDisk(facts)).toEqual({ kind: 'take', disk: { entry: 'sdb', ...found } });
  });

  it('is a folder where nothing is mounted and no disk belongs', () => {
    expect(decideDisk({ ...facts, found: undefined })).toEqual({ kind: 'folder' });
  });

  it('is no folder where the disk of a volume belongs, also of one that is being emptied', () => {
    for (const isDeleted of [false, true]) {
      const decision = decideDisk({ ...facts, found: undefined, known: [known({ isDeleted })] });
      expect(decision).toEqual(obstacle('sdb-1, which is not mounted'));
    }
    const ofOtherPool = [known({ poolUuid: 'pool-2' })];
    expect(decideDisk({ ...facts, found: undefined, known: ofOtherPool })).toEqual({ kind: 'folder' });
  });

  it('says how to give up a disk that is gone for good', () => {
    expect(decideDisk({ ...facts, found: undefined, known: [known()] })).toEqual(
      obstacle('loam gc --forget sdb-1'),
    );
  });

  it('is offered to nobody where it shows a disk that was forgotten, of whichever pool and at whichever place', () => {
    for (const forgotten of [given, { ...given, poolUuid: 'pool-2', disk: { ...found, entry: 'sdc' } }]) {
      const decision = decideDisk({ ...facts, forgotten: [forgotten] });
      expect(decision).toEqual(obstacle('of volume sdb-1 of claim shop/data'));
      expect(decision).toEqual(obstacle('loam adopt /pool/discovery/sdb'));
    }
    const another = { ...given, disk: { ...given.disk, uuid: 'u-2' } };
    expect(decideDisk({ ...facts, forgotten: [another] })).toMatchObject({ kind: 'take' });
  });

  it('is the volume that was made of a forgotten disk by hand', () => {
    expect(decideDisk({ ...facts, known: [known()], forgotten: [given] })).toMatchObject({ kind: 'known' });
  });

  it('is no folder where a forgotten disk was mounted, and such a place for another disk', () => {
    expect(decideDisk({ ...facts, found: undefined, forgotten: [given] })).toEqual(
      obstacle('mount another disk there'),
    );
    const ofOther = { ...given, poolUuid: 'pool-2' };
    expect(decideDisk({ ...facts, found: undefined, forgotten: [ofOther] })).toEqual({ kind: 'folder' });
  });

  it('is the volume that it is already, also where it has become read-only', () => {
    const decision = { kind: 'known', volumeId: 'sdb-1' };
    expect(decideDisk({ ...facts, known: [known()] })).toEqual(decision);
    expect(decideDisk({ ...facts, known: [known()], found: { ...found, why: 'read-only' } })).toEqual(
      decision,
    );
  });

  it('is left alone while the disk is emptied', () => {
    expect(decideDisk({ ...facts, known: [known({ isDeleted: true })] })).toEqual(obstacle('being emptied'));
  });

  it('is never a second volume of one disk, in whichever pool or place that is', () => {
    for (const place of [known({ disk: { ...found, entry: 'sdc' } }), known({ poolUuid: 'pool-2' })])
      expect(decideDisk({ ...facts, known: [place] })).toEqual(obstacle('that of volume sdb-1'));
    expect(decideDisk({ ...facts, earlier: '/pool/discovery/sda' })).toEqual(obstacle('/pool/discovery/sda'));
  });

  it('is no volume where another disk belongs', () => {
    const decision = decideDisk({
      ...facts,
      known: [known({ disk: { ...found, entry: 'sdb', uuid: 'u-2' } })],
    });
    expect(decision).toEqual(obstacle('u-2 of volume sdb-1'));
  });

  it('is an obstacle where it is a pool, no disk of its own, or may be known to what cannot be read', () => {
    expect(decideDisk({ ...facts, isPool: true })).toEqual(obstacle('is a pool'));
    expect(decideDisk({ ...facts, found: { type: 'tmpfs', why: 'a tmpfs' } })).toEqual(obstacle('a tmpfs'));
    expect(decideDisk({ ...facts, found: { type: 'ext4' } })).toEqual(obstacle('no disk'));
    expect(decideDisk({ ...facts, unknown: 'pool b is away' })).toEqual(obstacle('pool b is away'));
  });
});
