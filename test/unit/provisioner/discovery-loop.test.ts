import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog, type Log } from '../../../src/model/log.ts';
import type { DiscoveredEntry } from '../../../src/model/volume-ledger.ts';
import type { DiscoverySource } from '../../../src/provisioner/adoption/discovery-loop.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { Life } from './life.ts';
import { World } from './world.ts';

let world: World;
/** What lies in the folder, by path. */
let folder: Map<string, DiscoveredEntry>;
let missing: Set<string>;

beforeEach(() => {
  world = new World();
  world.api.put('StorageClass', aStorageClass({ metadata: { name: 'found', uid: 'class-2' } }));
  folder = new Map();
  missing = new Set();
});
afterEach(() => world.end());

const source: DiscoverySource = {
  discoveries: async () => [
    {
      poolName: 'default',
      poolUuid: 'pool-1',
      className: 'found',
      sizeBytes: 1n << 30n,
      entries: [...folder.values()],
    },
  ],
  adoptPath: async (path, { sizeBytes, parameters }) => {
    folder.delete(path);
    const name = path.split('/').at(-1) ?? '';
    world.driver.make({
      name,
      capacityRange: { requiredBytes: sizeBytes, limitBytes: 0n },
      capabilities: [
        { accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'mount', fsType: '', mountFlags: [] } },
      ],
      parameters,
    });
    await world.driver.acknowledge(name);
    world.driver.origins.set(name, `discovery/${name}`);
    const [held] = world.driver.held().filter(({ volumeId }) => volumeId === name);
    if (held === undefined) throw new Error('not made');
    return { ...held, accessModes: [], volumeContext: {} };
  },
  getVolume: async (volumeId) => {
    if (missing.has(volumeId)) throw new Error(`the directory of volume ${volumeId} is gone`);
    const volume = world.driver.volumes.get(volumeId)?.volume;
    if (volume === undefined) throw new Error('no such volume');
    return { volume, condition: { abnormal: false, message: 'fine' } };
  },
};

function put(name: string, more: Partial<DiscoveredEntry> = {}): void {
  const path = `/pool/discovery/${name}`;
  folder.set(path, { path, changedAtMs: world.clock.nowMs(), ...more });
}
const start = (wrapped: Parameters<World['start']>[1] = {}) =>
  world.start({}, { ...wrapped, discovery: source });
const volume = () => world.volume('adopted-orders');

describe('a folder that was put into a discovery folder', () => {
  it('stays where it is while nobody can say which cluster this is: its record could not say who had it', async () => {
    world.api.erase('Namespace', 'kube-system');
    put('orders');
    await start();
    await world.pass(60_000);
    expect([...folder.keys()]).toEqual(['/pool/discovery/orders']);
    expect(volume()).toBeUndefined();
  });

  it('becomes an Available PV that nobody deletes', async () => {
    put('orders');
    await start();
    expect(volume()).toBeUndefined();
    await world.pass(11_000);
    expect(volume()).toMatchObject({
      metadata: { annotations: { 'loam.dev/adopted': 'discovered' } },
      spec: {
        storageClassName: 'found',
        persistentVolumeReclaimPolicy: 'Retain',
        capacity: { storage: '1Gi' },
      },
    });
    expect(volume()?.spec).not.toHaveProperty('claimRef');
    expect(volume()?.metadata.finalizers ?? []).toEqual([]);
    expect(world.driver.held()).toMatchObject([{ clusterUid: 'cluster-1', className: 'found' }]);
  });

  it('is left alone while somebody may still be filling it, and where it cannot be one', async () => {
    await start();
    put('disk', { obstacle: 'it is a disk' });
    await world.pass(9_000);
    put('orders');
    await world.pass(2_000);
    expect(world.api.all('PersistentVolume')).toEqual([]);
    await world.pass(10_000);
    expect(world.api.all('PersistentVolume').map(({ metadata }) => metadata.name)).toEqual([
      'adopted-orders',
    ]);
    expect(folder.has('/pool/discovery/disk')).toBe(true);
  });

  it('is told of once where it cannot be one, and again when it comes back', async () => {
    const said: string[] = [];
    const log: Log = { ...silentLog, warn: (_facts, text) => void said.push(text), child: () => log };
    await start({ log });
    const disk = { obstacle: 'it is a disk' };
    put('disk', disk);
    await world.pass(60_000);
    expect(said.filter((text) => text === disk.obstacle)).toHaveLength(1);
    folder.clear();
    await world.pass(20_000);
    put('disk', disk);
    await world.pass(60_000);
    expect(said.filter((text) => text === disk.obstacle)).toHaveLength(2);
  });

  it('waits for its class', async () => {
    world.api.erase('StorageClass', 'found');
    put('orders');
    await start();
    await world.pass(30_000);
    expect(folder.size).toBe(1);
    world.api.put('StorageClass', aStorageClass({ metadata: { name: 'found', uid: 'class-2' } }));
    await world.pass(11_000);
    expect(volume()).toBeDefined();
  });

  it('keeps its PV when its data goes, with an event, and is not offered again once its PV is deleted', async () => {
    put('orders');
    await start();
    await world.pass(11_000);
    missing.add('orders');
    await world.pass(11_000);
    expect(volume()).toBeDefined();
    expect(world.events().join('\n')).toMatch(/Warning DiscoveredVolumeMissing: .*is gone.*kept/);
    world.api.erase('PersistentVolume', 'adopted-orders');
    await world.pass(30_000);
    // somebody may have had it: only a person offers it again
    expect(volume()).toBeUndefined();
  });

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])(
    'has its PV after processes that died after %i steps',
    async (steps) => {
      for (const afterEffect of [false, true]) {
        const life = new Life(steps, afterEffect);
        const api = life.wrap(world.api, ['create', 'list']);
        const driver = life.wrap(world.driver, ['adopt']);
        put('orders');
        if (world.driver.volumes.size > 0) folder.clear();
        await start({ api, driver, isMortal: true });
        await world.pass(11_000);
        life.isOver = true;
      }
      await start();
      await world.pass(21_000);
      expect(volume()).toBeDefined();
      expect(world.api.all('PersistentVolume')).toHaveLength(1);
      expect(world.driver.held()).toMatchObject([{ clusterUid: 'cluster-1' }]);
    },
  );
});
