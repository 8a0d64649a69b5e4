import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControllerCapability } from '../../../src/model/csi-driver.ts';
import { old, theOldVolume } from '../claims/sources.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { ChangingWorld } from './changing-world.ts';

const few: ReadonlySet<ControllerCapability> = new Set(['CREATE_DELETE_VOLUME', 'SINGLE_NODE_MULTI_WRITER']);

describe('what the driver can do', () => {
  let world: ChangingWorld;
  beforeEach(() => void (world = new ChangingWorld()));
  afterEach(() => world.end());

  /** A disk is mounted late, and a pool opens on it. */
  const openPool = () => {
    world.driver.capabilities = new Set([...few, 'CLONE_VOLUME', 'EXPAND_VOLUME', 'MODIFY_VOLUME']);
    world.driver.spaceChanged.tell();
  };

  it('is taken from pools that open later: a clone that was refused is made at once', async () => {
    world.driver.make({
      name: 'pvc-uid-old',
      capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
      capabilities: [],
      parameters: {},
    });
    void world.driver.acknowledge('pvc-uid-old');
    world.api.put('PersistentVolume', theOldVolume());
    world.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: { name: 'old', uid: 'uid-old' },
        spec: { volumeName: 'pvc-uid-old' },
        status: { phase: 'Bound' },
      }),
    );
    world.driver.capabilities = few;
    await world.start();
    world.claim({ spec: { dataSource: old } });
    await world.pass(600_000);
    expect(world.events().at(-1)).toMatch(/the driver cannot clone claim old/);
    openPool();
    await world.pass(0);
    expect(world.volume()).toBeDefined();
  });

  it('is taken from pools that open later: a volume grows and gets other attributes', async () => {
    world.driver.capabilities = few;
    await world.start();
    await world.bound();
    openPool();
    world.attributesClass('silver', { retainFor: '1d' });
    world.ask('2Gi');
    world.name('silver');
    await world.pass(1_000);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n << 30n)]);
    expect(world.driver.modifies).toHaveLength(1);
  });

  it('is asked once by many news at a time, and once more after them', async () => {
    await world.start();
    let asked = 0;
    const { driver } = world;
    const answer = driver.getControllerCapabilities.bind(driver);
    driver.getControllerCapabilities = (...call) => {
      asked += 1;
      return answer(...call);
    };
    for (let count = 0; count < 100; count += 1) driver.spaceChanged.tell();
    await world.pass(0);
    expect(asked).toBe(2);
  });

  it('stands where the driver does not answer', async () => {
    await world.start();
    world.driver.getControllerCapabilities = () => Promise.reject(new Error('no'));
    world.driver.spaceChanged.tell();
    await world.bound();
    world.ask('2Gi');
    await world.pass(1_000);
    expect(world.sizes()[0]).toBe('2Gi');
  });
});
