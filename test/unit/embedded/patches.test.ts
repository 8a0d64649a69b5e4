import { describe, expect, it } from 'vitest';
import { ApiFailure } from '../../../src/embedded/api-failure.ts';
import { jsonPatch, mergePatch } from '../../../src/embedded/patches.ts';
import { strategicPatch } from '../../../src/embedded/strategic-patch.ts';

describe('merge patch', () => {
  it('merges maps, replaces lists and removes by null', () => {
    const before = { a: { b: 1, c: 2 }, list: [1, 2], gone: 'x' };
    expect(mergePatch(before, { a: { c: 3 }, list: [3], gone: null })).toEqual({
      a: { b: 1, c: 3 },
      list: [3],
    });
    expect(before.gone).toBe('x');
  });
});

describe('JSON patch', () => {
  it('adds, replaces, removes, moves and copies, in maps and in lists', () => {
    const steps = [
      { op: 'add', path: '/labels/a~1b', value: 'x' },
      { op: 'add', path: '/list/1', value: 'between' },
      { op: 'add', path: '/list/-', value: 'last' },
      { op: 'replace', path: '/size', value: 2 },
      { op: 'remove', path: '/list/0' },
      { op: 'copy', from: '/size', path: '/again' },
      { op: 'move', from: '/size', path: '/moved' },
    ];
    const before = { labels: {}, list: ['first', 'second'], size: 1 };
    expect(jsonPatch(before, steps)).toEqual({
      labels: { 'a/b': 'x' },
      list: ['between', 'second', 'last'],
      again: 2,
      moved: 2,
    });
  });

  it.each([
    [{ op: 'test', path: '/a', value: 2 }],
    [{ op: 'remove', path: '/b' }],
    [{ op: 'replace', path: '/b', value: 1 }],
    [{ op: 'add', path: '/b/c', value: 1 }],
  ])('refuses a step that does not apply: %j', (step) => {
    expect(() => jsonPatch({ a: 1 }, [step])).toThrow(ApiFailure);
  });
});

describe('strategic merge patch', () => {
  it('adds to and takes from the finalizers without knowing the others', () => {
    const before = { metadata: { finalizers: ['a', 'b'] } };
    expect(strategicPatch(before, { metadata: { finalizers: ['c'] } })).toEqual({
      metadata: { finalizers: ['c', 'a', 'b'] },
    });
    const remove = {
      metadata: { '$deleteFromPrimitiveList/finalizers': ['a'], '$setElementOrder/finalizers': ['b'] },
    };
    expect(strategicPatch(before, remove)).toEqual({ metadata: { finalizers: ['b'] } });
  });

  it('merges lists of things by their key, in the order asked for', () => {
    const before = {
      conditions: [
        { type: 'A', status: 'no', since: 1 },
        { type: 'B', status: 'no' },
      ],
    };
    const patch = {
      $setElementOrder: [],
      '$setElementOrder/conditions': [{ type: 'B' }, { type: 'A' }, { type: 'C' }],
      conditions: [
        { type: 'A', status: 'yes' },
        { type: 'C', status: 'yes' },
      ],
    };
    expect(strategicPatch(before, patch)).toEqual({
      conditions: [
        { type: 'B', status: 'no' },
        { type: 'A', status: 'yes', since: 1 },
        { type: 'C', status: 'yes' },
      ],
    });
  });

  it('deletes from and replaces such lists, and replaces all other lists', () => {
    const before = { volumes: [{ name: 'a' }, { name: 'b' }], accessModes: ['ReadWriteOnce'] };
    expect(strategicPatch(before, { volumes: [{ name: 'a', $patch: 'delete' }] })).toMatchObject({
      volumes: [{ name: 'b' }],
    });
    expect(strategicPatch(before, { volumes: [{ $patch: 'replace' }, { name: 'c' }] })).toMatchObject({
      volumes: [{ name: 'c' }],
    });
    expect(strategicPatch(before, { accessModes: ['ReadOnlyMany'] })).toMatchObject({
      accessModes: ['ReadOnlyMany'],
    });
  });

  it('replaces a map and keeps only named keys where the patch says so', () => {
    const before = { volume: { name: 'a', emptyDir: {}, hostPath: {} }, labels: { a: '1' } };
    expect(strategicPatch(before, { volume: { $retainKeys: ['name', 'hostPath'] } })).toMatchObject({
      volume: { name: 'a', hostPath: {} },
    });
    expect(strategicPatch(before, { labels: { $patch: 'replace', b: '2' } })).toMatchObject({
      labels: { b: '2' },
    });
  });
});
