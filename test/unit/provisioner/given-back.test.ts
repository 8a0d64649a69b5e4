import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CsiError } from '../../../src/model/status-code.ts';
import { aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const selectedNode = 'volume.kubernetes.io/selected-node';

/** A node that has no room, and a node that comes back when its claims have gone elsewhere. */
describe('a claim that was given to this node', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { name: 'now', uid: 'class-now' }, volumeBindingMode: 'Immediate' }),
    );
  });
  afterEach(() => world.end());
  const claimNow = () => world.api.peek('PersistentVolumeClaim', 'shop/data');
  const fill = () => {
    world.driver.onCreate = () => {
      throw new CsiError('RESOURCE_EXHAUSTED', 'the pool is full');
    };
  };

  it.each(['now', 'fast'])(
    'is given back with its label where there is no room (class %s)',
    async (storageClassName) => {
      await world.start();
      fill();
      world.claim({
        metadata: {
          annotations: { [selectedNode]: 'node-a' },
          labels: { 'loam.dev/node': 'node-a', app: 'shop' },
        },
        spec: { storageClassName },
      });
      await world.pass(1_000);
      expect(claimNow()?.metadata.annotations?.[selectedNode]).toBeUndefined();
      expect(claimNow()?.metadata.labels).toEqual({ app: 'shop' });
      expect(world.driver.creates).toHaveLength(1);
      world.expectNothingLeft();
    },
  );

  it('is tried again here where it binds at once and nobody else would choose a node', async () => {
    await world.start({ immediateOnThisNode: true });
    fill();
    world.claim({ spec: { storageClassName: 'now' } });
    await world.pass(10_000);
    expect(claimNow()?.metadata.annotations?.[selectedNode]).toBe('node-a');
    expect(world.driver.creates.length).toBeGreaterThan(1);
  });

  it.each<[string, Record<string, string>]>([
    ['has gone to another node', { [selectedNode]: 'node-b' }],
    ['waits for a node again', {}],
  ])("and %s is undone here, though another node's PV has its name", async (_, annotations) => {
    // the disk has the volume, its process died before the PV
    const dying = await world.start({}, { isMortal: true });
    world.driver.afterCreate = () => new Promise(() => {});
    world.claim();
    await world.pass(0);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    void dying.stop();
    world.driver.afterCreate = undefined;
    world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
      claim.metadata.annotations = annotations;
    });
    if (annotations[selectedNode] !== undefined) {
      const csi = {
        driver: 'loam.dev',
        volumeHandle: 'pvc-uid-1',
        volumeAttributes: { 'loam.dev/pool-uuid': 'pool-of-node-b' },
      };
      world.api.put('PersistentVolume', aPersistentVolume({ spec: { csi } }));
    }
    await world.start();
    await world.pass(120_000);
    expect([...world.driver.volumes.keys()]).toEqual([]);
    expect(world.driver.deletes.map(({ volumeContext }) => volumeContext?.['loam.dev/pool-uuid'])).toEqual([
      'pool-1',
    ]);
    if (annotations[selectedNode] !== undefined)
      expect(world.volume()?.spec.csi?.volumeAttributes?.['loam.dev/pool-uuid']).toBe('pool-of-node-b');
  });
});
