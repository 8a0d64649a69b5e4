import { describe, expect, it } from 'vitest';
import type { Stuck } from '../../../src/model/disk-inventory.ts';
import { listVolumes } from '../../../src/operator/list-volumes.ts';
import { planGc, type Judgement, type NodeState } from '../../../src/operator/plan-gc.ts';
import { aHeldVolume, anArchivedVolume } from '../../support/held-volumes.ts';

const nothing: NodeState = {
  volumes: [],
  doomed: [],
  broken: [],
  archived: [],
  forgotten: [],
  strays: [],
  litter: [],
};
const sinceMs = Date.UTC(2026, 0, 1);
const owned: Judgement = {
  kind: 'owned',
  persistentVolume: 'pv-1',
  phase: 'Bound',
  claim: 'rescue/copy',
  reason: 'PersistentVolume pv-1 stands for it, for claim rescue/copy',
};
const orphan: Judgement = { kind: 'orphan', isForeign: false, reason: 'its PersistentVolume is gone' };
const planOf = (judgement: Judgement | undefined, changes = {}) =>
  planGc({ ...nothing, volumes: [{ held: aHeldVolume(changes), judgement }] });

describe('the plan', () => {
  it('is empty where every volume has its PV, and where nobody can say', () => {
    expect(planOf(owned)).toEqual([]);
    expect(planOf(owned, { isRecycling: true })).toEqual([]);
    expect(planOf(undefined)).toEqual([]);
    expect(planGc(nothing)).toEqual([]);
  });

  it('names an orphan, and what a person can do', () => {
    expect(planOf(orphan)).toEqual([
      {
        kind: 'orphan',
        id: 'pvc-uid-1',
        pool: 'fast',
        sizeBytes: '1073741824',
        claim: 'shop/data',
        reason: 'its PersistentVolume is gone',
        action: 'loam adopt pvc-uid-1 gives it a PersistentVolume, loam gc --remove pvc-uid-1 deletes it',
        byItself: false,
      },
    ]);
  });

  it.each<[string, Judgement, object, object]>([
    ['of another cluster', { ...orphan, isForeign: true }, {}, { kind: 'foreign', byItself: false }],
    ['that was being emptied', orphan, { isRecycling: true }, { kind: 'recycling', byItself: false }],
    [
      'that the sweep settles',
      { kind: 'begun', isSwept: true, reason: 'begun' },
      {},
      { kind: 'intent', byItself: true },
    ],
    [
      'that somebody may be making',
      { kind: 'begun', isSwept: false, reason: 'begun' },
      {},
      { kind: 'intent', byItself: true },
    ],
    [
      'that nobody can judge now',
      { kind: 'unknown', reason: 'no answer' },
      {},
      { kind: 'unknown', byItself: false },
    ],
  ])('tells a volume %s from an orphan', (_, judgement, changes, expected) => {
    expect(planOf(judgement, changes)).toMatchObject([expected]);
  });

  it('names what goes by itself, what is kept and what is in the way', () => {
    const plan = planGc({
      ...nothing,
      doomed: [
        { id: 'v-1', poolName: 'fast', method: 'scrub', sinceMs, sizeBytes: 7n },
        {
          id: 'v-2',
          poolName: 'fast',
          method: 'delete',
          sinceMs,
          sizeBytes: 0n,
          failure: 'input/output error',
        },
      ],
      archived: [anArchivedVolume({ archiveId: 'pvc-uid-1.7' })],
      broken: [{ id: 'v-3', poolName: 'slow', why: '/p/v-3/volume.json is no JSON' }],
      strays: [
        {
          kind: 'loop device',
          path: '/dev/loop7',
          volumeId: 'v-4',
          poolName: 'fast',
          why: 'losetup --detach /dev/loop7',
        },
      ],
    });
    expect(plan.map(({ kind, id, byItself }) => `${kind} ${id} ${byItself}`)).toEqual([
      'trash v-1 true',
      'trash v-2 true',
      'archived pvc-uid-1.7 false',
      'broken v-3 false',
      'stray v-4 false',
    ]);
    const texts = plan.map(({ reason, action }) => `${reason}; ${action}`);
    expect(texts[0]).toContain('is being scrubbed since 2026-01-01T00:00:00.000Z');
    expect(texts[1]).toContain('the last attempt failed: input/output error');
    expect(texts[2]).toContain(
      'loam adopt pvc-uid-1 takes it back, loam gc --archive pvc-uid-1.7 removes it',
    );
    expect(texts[3]).toContain('/p/v-3/volume.json is no JSON; kept');
    expect(texts[4]).toBe('loop device /dev/loop7; losetup --detach /dev/loop7');
  });

  it.each<[string, Stuck, RegExp]>([
    [
      'whose mounted disk is away',
      { on: 'unusable disk', mountPoint: '/p/discovery/sdb' },
      /once its disk is mounted at \/p\/discovery\/sdb and in order.*loam gc --forget sdb-1 gives it up/,
    ],
    [
      'whose mounted disk fails',
      { on: 'failing disk', mountPoint: '/p/discovery/sdb' },
      /umount --lazy \/p\/discovery\/sdb.*loam gc --forget sdb-1 gives it up/,
    ],
    ['of a disk that nobody knows any more', { on: 'record' }, /do what the failure says/],
  ])('leaves to a person what is in the trash and %s, after what goes by itself', (_, stuck, action) => {
    const entry = { id: 'sdb-1', poolName: 'fast', method: 'delete', sinceMs, sizeBytes: 0n } as const;
    const doomed = [
      { ...entry, failure: 'the disk is away', stuck },
      { ...entry, id: 'v-1' },
    ];
    const plan = planGc({ ...nothing, doomed });
    expect(plan.map(({ id, byItself }) => `${id} ${byItself}`)).toEqual(['v-1 true', 'sdb-1 false']);
    expect(plan[1]?.reason).toBe(
      'deleted volume waits to be removed since 2026-01-01T00:00:00.000Z; the last attempt failed: the disk is away',
    );
    expect(plan[1]?.action).toMatch(/^not by itself: /);
    expect(plan[1]?.action).toMatch(action);
  });

  it('names what lies in the trash and nobody knows, and disks that were given up', () => {
    const plan = planGc({
      ...nothing,
      litter: [
        { name: 'copy of pvc-1', poolName: 'fast', why: '/p/trash/copy of pvc-1' },
        { name: 'trash', isTrash: true, poolName: 'fast', why: '/p/trash cannot be read' },
      ],
      forgotten: [
        {
          volumeId: 'sdb-1',
          poolName: 'fast',
          sizeBytes: 7n,
          claim: { namespace: 'shop', name: 'data' },
          type: 'ext4',
          uuid: 'u-1',
          mountPoint: '/p/discovery/sdb',
          path: '/p/.forgotten/sdb-1.7',
          sinceMs,
        },
      ],
      broken: [{ id: 'sdc-1.7', poolName: 'fast', why: '/p/.forgotten/sdc-1.7 is no JSON', isNote: true }],
    });
    expect(plan).toMatchObject([
      {
        kind: 'forgotten',
        id: 'sdb-1',
        claim: 'shop/data',
        reason: 'its disk, the ext4 u-1 of /p/discovery/sdb, was given up at 2026-01-01T00:00:00.000Z',
        action: expect.stringMatching(
          /loam adopt <its path> takes it back.*remove \/p\/\.forgotten\/sdb-1\.7 and restart/,
        ) as unknown,
        byItself: false,
      },
      {
        kind: 'broken',
        id: 'sdc-1.7',
        // moved away it would no longer keep anybody from the disk
        action: expect.stringMatching(/^kept.*mend it by hand(?!.*move)/) as unknown,
      },
      { kind: 'stray', id: 'copy of pvc-1', reason: '/p/trash/copy of pvc-1', byItself: false },
      // with all that is on its way out in it
      { kind: 'stray', id: 'trash', action: expect.not.stringMatching(/remove/) as unknown, byItself: false },
    ]);
  });
});

describe('a time that is none', () => {
  it('spoils no plan: in a record, in the trash, and in the name of a note', () => {
    const note = { volumeId: 'sdb-1', poolName: 'fast', sizeBytes: 7n, type: 'ext4', uuid: 'u-1' };
    const plan = planGc({
      ...nothing,
      archived: [anArchivedVolume({ archivedAtMs: Number.MAX_SAFE_INTEGER })],
      forgotten: [{ ...note, mountPoint: '/p/discovery/sdb', path: '/p/.forgotten/kept' }],
    });
    expect(plan[0]?.reason).toContain('at 9007199254740991 ms');
    expect(plan[1]?.reason).toBe('its disk, the ext4 u-1 of /p/discovery/sdb, was given up');
  });
});

describe('the list of volumes', () => {
  it('has a row each, in the order of their ids: whose it is by its PV, where it is in use', () => {
    const rows = listVolumes(
      [
        { held: aHeldVolume({ volumeId: 'v-2' }), judgement: orphan },
        { held: aHeldVolume({ volumeId: 'v-1' }), judgement: owned },
        { held: aHeldVolume({ volumeId: 'v-3', isRecycling: true }), judgement: owned },
        { held: aHeldVolume({ volumeId: 'v-4' }), judgement: undefined },
      ],
      new Map([['v-1', ['/staging/a', '/pods/a']]]),
    );
    expect(rows.map(({ volumeId, state, claim }) => `${volumeId} ${state} ${claim}`)).toEqual([
      'v-1 ready rescue/copy',
      'v-2 orphan shop/data',
      'v-3 recycling rescue/copy',
      'v-4 unknown shop/data',
    ]);
    expect(rows[0]).toMatchObject({
      persistentVolume: 'pv-1',
      phase: 'Bound',
      usedBy: ['/staging/a', '/pods/a'],
      remark: '',
    });
    expect(rows[1]).toMatchObject({
      persistentVolume: '',
      phase: '',
      usedBy: [],
      remark: 'its PersistentVolume is gone',
    });
  });
});
