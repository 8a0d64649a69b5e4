import { beforeEach, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { type Change, keyOf, ObjectStore } from '../../../src/kube/store.ts';

let store: ObjectStore<PersistentVolume>;
let changes: string[];

beforeEach(() => {
  store = new ObjectStore({
    class: ({ spec }) => (spec.storageClassName === undefined ? [] : [spec.storageClassName]),
  });
  changes = [];
  store.onChange(({ previous, current }: Change<PersistentVolume>) => {
    const said = (object: PersistentVolume | undefined) => object?.metadata.resourceVersion ?? '-';
    changes.push(`${(current ?? previous)?.metadata.name}:${said(previous)}>${said(current)}`);
  });
});

describe('the store', () => {
  it('names what is in a namespace by both names', () => {
    expect(keyOf({ namespace: 'team', name: 'data' })).toBe('team/data');
    expect(keyOf(pv('a', 1))).toBe('a');
  });

  it('follows the watch, announcing each change once', () => {
    store.apply('ADDED', pv('a', 1));
    store.apply('MODIFIED', pv('a', 2));
    store.apply('MODIFIED', pv('a', 2));
    store.apply('DELETED', pv('a', 3));
    expect(changes).toEqual(['a:->1', 'a:1>2', 'a:2>-']);
    expect(store.size).toBe(0);
  });

  it('keeps its indexes', () => {
    store.apply('ADDED', pv('a', 1, 'fast'));
    store.apply('ADDED', pv('b', 2, 'fast'));
    store.apply('MODIFIED', pv('a', 3, 'slow'));
    expect(store.byIndex('class', 'fast').map(keyOf)).toEqual(['b']);
    expect(store.byIndex('class', 'slow').map(keyOf)).toEqual(['a']);
    store.apply('DELETED', pv('a', 4, 'slow'));
    expect(store.byIndex('class', 'slow')).toEqual([]);
    expect(() => store.byIndex('clas', 'slow')).toThrow('no index "clas"');
  });

  it('drops managedFields and what its projection does not keep', () => {
    store.projectWith(({ metadata }) => ({ metadata, spec: {} }));
    store.put(pv('a', 1, 'fast', { managedFields: [{}] }));
    expect(store.get('a')).toEqual({ metadata: { name: 'a', uid: 'a', resourceVersion: '1' }, spec: {} });
  });
});

describe('an answer written through', () => {
  it('is there at once, and announced once though the watch brings it too', () => {
    store.put(pv('a', 5));
    store.apply('ADDED', pv('a', 5));
    expect(changes).toEqual(['a:->5']);
  });

  it('is ignored when something newer is known', () => {
    store.apply('ADDED', pv('a', 10));
    store.put(pv('a', 9));
    store.put(pv('a', 10));
    expect(changes).toEqual(['a:->10']);
  });

  it('stands until the watch has caught up with it', () => {
    store.apply('ADDED', pv('a', 1));
    store.put(pv('a', 10));
    store.apply('MODIFIED', pv('a', 4));
    store.apply('DELETED', pv('a', 6));
    expect(store.get('a')?.metadata.resourceVersion).toBe('10');
    store.apply('MODIFIED', pv('a', 10));
    store.apply('MODIFIED', pv('a', 11));
    expect(changes).toEqual(['a:->1', 'a:1>10', 'a:10>11']);
  });

  it('does not bring back what is gone, but a new object of the same name does come', () => {
    store.apply('ADDED', pv('a', 1));
    store.apply('DELETED', pv('a', 8));
    store.put(pv('a', 7));
    expect(store.get('a')).toBeUndefined();
    store.put(pv('a', 9));
    expect(store.get('a')?.metadata.resourceVersion).toBe('9');
  });

  it('does not bring back what was removed by hand', () => {
    store.put(pv('a', 7));
    store.remove('a');
    store.put(pv('a', 7));
    expect(changes).toEqual(['a:->7', 'a:7>-']);
  });
});

describe('a list', () => {
  it('replaces everything: what vanished is announced, what is the same is not', () => {
    for (const name of ['a', 'b', 'c']) store.apply('ADDED', pv(name, 1));
    const mark = store.mark();
    changes.length = 0;
    store.replace({ items: [pv('a', 1), pv('b', 20)], resourceVersion: '30' }, mark);
    expect(changes).toEqual(['b:1>20', 'c:1>-']);
  });

  it('leaves alone what was written through after it was asked for', () => {
    store.apply('ADDED', pv('old', 1));
    const mark = store.mark();
    store.put(pv('old', 40));
    store.put(pv('new', 41));
    store.replace({ items: [pv('old', 1)], resourceVersion: '30' }, mark);
    expect([...store.list()].map(({ metadata }) => metadata.resourceVersion)).toEqual(['40', '41']);
  });

  it('is believed after a restore, when its versions are lower than all that was known', () => {
    store.put(pv('a', 1_000));
    store.apply('ADDED', pv('b', 1_001));
    store.replace({ items: [pv('a', 50)], resourceVersion: '60' }, store.mark());
    expect(changes.slice(2)).toEqual(['a:1000>50', 'b:1001>-']);
    store.apply('ADDED', pv('b', 61));
    expect(store.get('b')).toBeDefined();
  });
});

function pv(name: string, version: number, storageClassName?: string, meta: object = {}): PersistentVolume {
  return {
    metadata: { name, uid: name, resourceVersion: String(version), ...meta },
    spec: storageClassName === undefined ? {} : { storageClassName },
  };
}
