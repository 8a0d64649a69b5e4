import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aStorageClass } from '../../support/kube-objects.ts';
import { monday, old, theOldVolume } from '../claims/sources.ts';
import { kinds, selectedNode, sources, SourceWorld } from './source-world.ts';

describe('a claim with a source', () => {
  let world: SourceWorld;
  beforeEach(() => {
    world = new SourceWorld();
  });
  afterEach(() => world.end());

  describe('on another node', () => {
    beforeEach(() => {
      world.driver.volumes.clear();
      world.driver.snapshots.byId.clear();
      world.api.edit('PersistentVolume', 'pvc-uid-old', (it) => void (it.spec = theOldVolume('node-b').spec));
      world.api.edit(
        'VolumeSnapshotContent',
        'c-monday',
        (it) => void (it.metadata.labels = { 'loam.dev/node': 'node-b' }),
      );
    });
    const claimNow = () => world.api.peek('PersistentVolumeClaim', 'shop/data');

    it.each(kinds)('is given back before the driver is asked: %s', async (kind) => {
      await world.start();
      world.wish(sources[kind]);
      await world.pass(5_000);
      expect(claimNow()?.metadata.annotations?.[selectedNode]).toBeUndefined();
      expect(world.driver.creates).toEqual([]);
      const what = kind === 'snapshot' ? 'snapshot shop/monday' : 'claim shop/old';
      expect(world.events()).toEqual([
        `Normal NodeUnselected: ${what} is on node node-b, and a copy can only be made there: the claim does not wait for node-a any longer`,
      ]);
      expect(world.finalizersOf(kind)).toEqual([]);
    });

    it('is told so where nobody would choose another node', async () => {
      world.api.put(
        'StorageClass',
        aStorageClass({ metadata: { name: 'now', uid: 'c2' }, volumeBindingMode: 'Immediate' }),
      );
      await world.start({ immediateOnThisNode: true });
      world.wish(old, { spec: { storageClassName: 'now' } });
      await world.pass(1_000);
      expect(world.events().at(-1)).toMatch(/claim shop\/old is on node node-b, .*; node-a was selected/);
    });

    it.each(kinds)('is left to that node where no node was chosen: %s', async (kind) => {
      world.api.put(
        'StorageClass',
        aStorageClass({ metadata: { name: 'now', uid: 'c2' }, volumeBindingMode: 'Immediate' }),
      );
      await world.start({ immediateOnThisNode: true });
      world.wish(sources[kind], { metadata: { annotations: {} }, spec: { storageClassName: 'now' } });
      await world.pass(60_000);
      expect(world.events()).toEqual([]);
      expect(world.driver.creates).toEqual([]);
    });

    it('is served here all the same where this disk has what the label says is elsewhere', async () => {
      world.api.edit('PersistentVolume', 'pvc-uid-old', (it) => void (it.spec = theOldVolume('node-a').spec));
      world.makeSources();
      await world.start();
      world.wish(monday);
      await world.pass(0);
      expect(world.volume()).toBeDefined();
    });
  });
});
