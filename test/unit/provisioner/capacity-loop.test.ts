import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { CapacityWorld, enabled, GiB, MiB, namespace } from './capacity-world.ts';

let world: CapacityWorld;
beforeEach(() => {
  world = new CapacityWorld();
});
afterEach(() => world.end());

describe('capacity', () => {
  it('is published for every class of the driver, Immediate ones too, and for nobody else’s', async () => {
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { name: 'now' }, volumeBindingMode: 'Immediate' }),
    );
    world.api.put('StorageClass', aStorageClass({ metadata: { name: 'other' }, provisioner: 'other.dev' }));
    await world.start(enabled);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi', now: '10Gi' });
    expect(world.find()?.metadata.ownerReferences).toEqual([
      { apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'node-1' },
    ]);
    expect(world.driver.capacityRequests[0]).toEqual({
      capabilities: [],
      parameters: { backend: 'directory', limit: 'advisory' },
      accessibleTopology: { 'topology.loam.dev/node': 'node-a' },
    });
  });

  it('is not published where it is switched off, nor by a driver that cannot tell', async () => {
    await world.start();
    world.driver.capabilities = new Set(['CREATE_DELETE_VOLUME']);
    await world.start(enabled);
    await world.pass(60_000);
    expect(world.api.calls.filter(({ kind }) => ['CSIStorageCapacity', 'Node'].includes(kind))).toEqual([]);
  });

  it('follows a change within a second, once a second at most', async () => {
    await world.start(enabled);
    await world.pass(5_000);
    expect(world.writes()).toEqual(['create']);
    world.change(9n * GiB);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '9Gi' });
    for (let step = 0; step < 100; step += 1) {
      world.change(8n * GiB - BigInt(step) * MiB);
      await world.pass(50);
    }
    expect(world.writes().length - 2).toBeGreaterThanOrEqual(4);
    expect(world.writes().length - 2).toBeLessThanOrEqual(6);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: `${8 * 1024 - 99}Mi` });
  });

  it('follows what happens while it is being asked for', async () => {
    await world.start(enabled);
    await world.pass(5_000);
    let isFirst = true;
    world.driver.capacityOf = () => {
      if (!isFirst) return world.room;
      isFirst = false;
      const before = world.room;
      world.change(8n * GiB);
      return before;
    };
    world.driver.spaceChanged.tell();
    await world.pass(2_000);
    expect(world.published()).toEqual({ fast: '8Gi' });
  });

  it('does not follow every byte that pods write, but what is much at the next poll', async () => {
    await world.start(enabled);
    await world.pass(5_000);
    world.room = { availableBytes: 10n * GiB - MiB };
    await world.pass(50_000);
    expect(world.writes()).toEqual(['create']);
    await world.pass(20_000);
    expect(world.published()).toEqual({ fast: `${10 * 1024 - 1}Mi` });
    world.room = { availableBytes: GiB };
    await world.pass(10_500);
    expect(world.published()).toEqual({ fast: '1Gi' });
    await world.pass(600_000);
    expect(world.writes()).toEqual(['create', 'patch', 'patch']);
  });

  it('says why nothing fits, and no more when something does', async () => {
    await world.start(enabled);
    await world.pass(2_000);
    world.change(0n, 'pool one: /one is gone');
    await world.pass(700);
    expect(world.published()).toEqual({ fast: '0: pool one: /one is gone' });
    world.change(GiB);
    await world.pass(700);
    expect(world.published()).toEqual({ fast: '1Gi' });
  });

  it('of a class with a wrong parameter is that of one without, so that its claims come to be told', async () => {
    world.driver.capacityOf = ({ parameters }) => {
      if ('limits' in parameters) throw new StorageError('invalid-parameter', 'limits is unknown');
      return world.room;
    };
    world.api.put('StorageClass', aStorageClass({ metadata: { name: 'typo' }, parameters: { limits: 'x' } }));
    await world.start(enabled);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi', typo: '10Gi' });
  });

  it('stays as it was while the driver cannot say', async () => {
    await world.start(enabled);
    await world.pass(1_000);
    world.driver.capacityOf = () => {
      throw new StorageError('host-failure', 'statfs: EIO');
    };
    world.change(0n);
    await world.pass(30_000);
    expect(world.published()).toEqual({ fast: '10Gi' });
  });

  it('comes and goes with classes, and with their provisioner', async () => {
    await world.start(enabled);
    await world.pass(1_000);
    world.api.put('StorageClass', aStorageClass({ metadata: { name: 'new' } }));
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi', new: '10Gi' });
    world.api.erase('StorageClass', 'fast');
    await world.pass(1_000);
    expect(world.published()).toEqual({ new: '10Gi' });
    world.api.edit('StorageClass', 'new', (edited) => void (edited.provisioner = 'other.dev'));
    await world.pass(1_000);
    expect(world.published()).toEqual({});
  });

  it('is made again where somebody deleted it, and put right where somebody changed it', async () => {
    await world.start(enabled);
    await world.pass(2_000);
    const { name } = world.find()?.metadata ?? { name: '' };
    world.api.erase('CSIStorageCapacity', `${namespace}/${name}`);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi' });
    await world.pass(1_000);
    world.api.edit('CSIStorageCapacity', `${namespace}/${name}`, (edited) => {
      edited.maximumVolumeSize = '1Ti';
    });
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi' });
  });

  it('leaves what others manage alone, even under our own name', async () => {
    const { name } = await (async () => {
      await world.start(enabled);
      await world.pass(1_000);
      await world.end();
      return world.find()?.metadata ?? { name: '' };
    })();
    world.api.edit('CSIStorageCapacity', `${namespace}/${name}`, (edited) => {
      edited.metadata.labels = { 'csi.storage.k8s.io/managed-by': 'external-provisioner' };
      edited.maximumVolumeSize = '7Gi';
    });
    const theirs = world.api.put('CSIStorageCapacity', {
      metadata: {
        name: 'csisc-x',
        namespace,
        labels: {
          'csi.storage.k8s.io/drivername': 'loam.dev',
          'csi.storage.k8s.io/managed-by': 'external-provisioner-node-a',
        },
      },
      storageClassName: 'gone',
    });
    await world.start(enabled);
    await world.pass(120_000);
    expect(world.find()?.maximumVolumeSize).toBe('7Gi');
    expect(world.api.peek('CSIStorageCapacity', `${namespace}/csisc-x`)).toEqual(theirs);
    const tries = world.writes().slice(1);
    expect(new Set(tries)).toEqual(new Set(['create']));
    expect(tries.length).toBeLessThan(10);
  });

  it('removes what an earlier process left of classes that are gone', async () => {
    await world.start(enabled);
    await world.pass(1_000);
    await world.end();
    expect(world.published()).toEqual({ fast: '10Gi' });
    world.api.erase('StorageClass', 'fast');
    await world.start(enabled);
    await world.pass(1_000);
    expect(world.published()).toEqual({});
  });

  it('is not written again by a new process where nothing changed', async () => {
    await world.start(enabled);
    await world.pass(1_000);
    const before = world.find();
    await world.end();
    world.room = { availableBytes: 10n * GiB - MiB };
    await world.start(enabled);
    await world.pass(30_000);
    expect(world.find()).toEqual(before);
    expect(world.writes()).toEqual(['create']);
  });

  it('of a hundred classes comes in portions, the full ones first', async () => {
    for (let index = 0; index < 99; index += 1) {
      world.api.put('StorageClass', aStorageClass({ metadata: { name: `class-${index}` } }));
    }
    await world.start(enabled);
    await world.pass(200);
    expect(world.writes()).toHaveLength(20);
    // all of them have the same parameters
    expect(world.driver.capacityRequests).toHaveLength(1);
    await world.pass(4_000);
    expect(Object.keys(world.published())).toHaveLength(100);
    expect(world.writes()).toHaveLength(100);
  });

  it('waits at the start for pools that another process still holds', async () => {
    await world.start(enabled);
    await world.pass(1_000);
    await world.end();
    world.driver.troubles = [{ name: 'one', path: '/one', why: 'in use by another process' }];
    world.room = { availableBytes: 0n, reason: 'in use' };
    await world.start(enabled);
    await world.pass(2_000);
    world.driver.troubles = [];
    world.change(10n * GiB);
    await world.pass(60_000);
    expect(world.writes()).toEqual(['create']);
    expect(world.events()).toEqual([]);
  });
});

describe('an API server in trouble', () => {
  it('gets the object in the end, whatever answer was lost', async () => {
    world.api.fail('create', 'CSIStorageCapacity', new ApiUnreachable('reset'), { afterEffect: true });
    world.api.fail('patch', 'CSIStorageCapacity', new ApiError(500, 'InternalError', 'etcd'), { times: 3 });
    world.api.fail('get', 'Node', new ApiError(503, 'ServiceUnavailable', 'starting'), { times: 2 });
    await world.start(enabled);
    await world.pass(20_000);
    world.change(9n * GiB);
    await world.pass(20_000);
    expect(world.published()).toEqual({ fast: '9Gi' });
  });

  it('that refuses is asked less and less, and claims do not notice', async () => {
    world.api.fail('create', 'CSIStorageCapacity', new ApiError(403, 'Forbidden', 'no'), { times: 1_000 });
    await world.start(enabled);
    world.claim();
    await world.pass(10 * 60_000);
    expect(world.writes().length).toBeLessThan(25);
    world.expectProvisioned();
  });

  it('that keeps the list back keeps nothing else back', async () => {
    world.api.fail('list', 'CSIStorageCapacity', new ApiError(403, 'Forbidden', 'no'), { times: 1_000 });
    const provisioner = await world.start(enabled);
    world.claim();
    await world.pass(0);
    world.expectProvisioned();
    expect(provisioner.isFresh()).toBe(true);
    expect(world.writes()).toEqual([]);
  });
});

describe('a driver of other people', () => {
  it('is asked after each create and each minute, and its Node is found by the host name', async () => {
    const driver = new FakeCsiDriver({ name: 'other.dev', topologyValue: 'node-a' });
    driver.capabilities = new Set(['CREATE_DELETE_VOLUME', 'GET_CAPACITY', 'SINGLE_NODE_MULTI_WRITER']);
    driver.capacityOf = () => world.room;
    world.api.edit('StorageClass', 'fast', (edited) => void (edited.provisioner = 'other.dev'));
    world.api.edit('Node', 'node-a', (edited) => {
      edited.metadata.labels = { 'kubernetes.io/hostname': 'host-a' };
    });
    await world.start(enabled, { driver });
    await world.pass(1_000);
    expect(driver.capacityRequests).toEqual([
      { capabilities: [], parameters: { backend: 'directory', limit: 'advisory' } },
    ]);
    const [first] = world.api.all('CSIStorageCapacity');
    expect(first?.nodeTopology).toEqual({ matchLabels: { 'kubernetes.io/hostname': 'host-a' } });
    await world.pass(30_000);
    expect(driver.capacityRequests).toHaveLength(1);
    world.room = { availableBytes: 10n * GiB - MiB };
    world.claim();
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: `${10 * 1024 - 1}Mi` });
    world.room = { availableBytes: 5n * GiB };
    await world.pass(60_000);
    expect(world.published()).toEqual({ fast: '5Gi' });
  });
});

it('publishing stops with the provisioner, and what was published stays', async () => {
  const provisioner = await world.start(enabled);
  await world.pass(1_000);
  await provisioner.stop();
  world.change(0n, 'pool closed');
  await world.pass(120_000);
  expect(world.published()).toEqual({ fast: '10Gi' });
});
