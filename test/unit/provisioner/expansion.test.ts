import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChangingWorld, resizeNote } from './changing-world.ts';

const gi = 1n << 30n;
const notRequired = 'volume.kubernetes.io/node-expansion-not-required';

let world: ChangingWorld;
beforeEach(() => {
  world = new ChangingWorld();
});
afterEach(() => world.end());

describe('growth', () => {
  it('is done at once, and said by PV, claim and events', async () => {
    await world.startBound();
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.status()).toMatchObject({
      allocatedResources: { storage: '2Gi' },
      allocatedResourceStatuses: {},
      conditions: [],
    });
    expect(world.annotations()[notRequired]).toBe('true');
    expect(world.volume()?.metadata.annotations).not.toHaveProperty([resizeNote]);
    expect(world.said()).toEqual([
      'Normal Resizing: External resizer is resizing volume pvc-uid-1',
      'Normal VolumeResizeSuccessful: Resize volume succeeded',
    ]);
    expect(world.driver.expands).toMatchObject([
      {
        volumeId: 'pvc-uid-1',
        capacityRange: { requiredBytes: 2n * gi, limitBytes: 0n },
        capability: { accessMode: 'SINGLE_NODE_MULTI_WRITER', access: { kind: 'mount', fsType: '' } },
      },
    ]);
  });

  it('says that it is under way while it is', async () => {
    await world.startBound();
    world.driver.onExpand = () => new Promise(() => {});
    world.ask('2Gi');
    await world.pass(0);
    expect(world.status()).toMatchObject({
      capacity: { storage: '1Gi' },
      allocatedResources: { storage: '2Gi' },
      allocatedResourceStatuses: { storage: 'ControllerResizeInProgress' },
      conditions: [{ type: 'Resizing', status: 'True' }],
    });
    expect(world.volume()?.spec.capacity).toEqual({ storage: '1Gi' });
  });

  it.each(['1500Mi', '1610612736', '1.5Gi', '2G'])('never goes past the request: %s', async (size) => {
    await world.startBound();
    world.ask(size);
    await world.pass(0);
    expect(world.driver.expands).toHaveLength(1);
    const [volume, claim, disk] = world.sizes();
    expect(world.sizesAsked()).toEqual([disk]);
    expect(volume).toBe(claim);
    expect(world.status().allocatedResources).toEqual({ storage: size });
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toHaveLength(1);
  });

  it('happens again and again, each time told', async () => {
    await world.startBound();
    for (const size of ['2Gi', '3Gi', '4Gi']) {
      world.ask(size);
      await world.pass(0);
      expect(world.sizes().slice(0, 2)).toEqual([size, size]);
    }
    expect(world.api.all('Event').find(({ reason }) => reason === 'VolumeResizeSuccessful')?.count).toBe(3);
  });

  it('takes what the driver has rounded up to, and does not ask again for it', async () => {
    await world.startBound();
    world.driver.afterExpand = (grown) => ({ ...grown, capacityBytes: 3n * gi });
    world.ask('2Gi');
    await world.pass(20 * 60_000);
    expect(world.sizes().slice(0, 2)).toEqual(['3Gi', '3Gi']);
    expect(world.driver.expands).toHaveLength(1);
  });

  it('takes the request for the size where the driver tells none', async () => {
    await world.startBound();
    world.driver.afterExpand = (grown) => ({ ...grown, capacityBytes: 0n });
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizes().slice(0, 2)).toEqual(['2Gi', '2Gi']);
  });

  it('believes no driver that answers with less than it was asked for', async () => {
    await world.startBound();
    world.driver.afterExpand = (grown) => ({ ...grown, capacityBytes: gi });
    world.ask('2Gi');
    await world.pass(0);
    expect(world.volume()?.spec.capacity).toEqual({ storage: '1Gi' });
    expect(world.said().join()).toContain('which is less than 2 GiB');
    world.driver.afterExpand = undefined;
    await world.pass(5_000);
    expect(world.sizes().slice(0, 2)).toEqual(['2Gi', '2Gi']);
  });

  it('leaves claims of another resizer alone, until they are ours', async () => {
    await world.startBound();
    world.edit((claim) => {
      claim.metadata.annotations = { 'volume.kubernetes.io/storage-resizer': 'other' };
    });
    world.ask('2Gi');
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toEqual([]);
    world.edit((claim) => void (claim.metadata.annotations = {}));
    await world.pass(0);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
  });

  it('is nobody’s where it is switched off, or the driver cannot', async () => {
    await world.start({ expansion: false });
    await world.bound();
    world.ask('2Gi');
    await world.pass(0);
    await world.end();
    world.driver.capabilities = new Set(['CREATE_DELETE_VOLUME']);
    await world.start();
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toEqual([]);
    expect(world.conditions()).toEqual([]);
  });

  it('goes on after a request that came while another size was on its way', async () => {
    await world.startBound();
    const gate = Promise.withResolvers<void>();
    world.driver.onExpand = () => gate.promise;
    world.ask('2Gi');
    await world.pass(0);
    world.ask('3Gi');
    await world.pass(0);
    expect(world.sizesAsked()).toEqual([String(2n * gi)]);
    gate.resolve();
    await world.pass(1_000);
    expect(world.sizes()).toEqual(['3Gi', '3Gi', String(3n * gi)]);
    expect(world.conditions()).toEqual([]);
  });

  it('keeps the conditions of others', async () => {
    await world.startBound();
    world.edit((claim) => {
      claim.status = { ...claim.status, conditions: [{ type: 'Audited', status: 'True', message: 'by us' }] };
    });
    world.ask('2Gi');
    await world.pass(0);
    expect(world.status().conditions).toEqual([{ type: 'Audited', status: 'True', message: 'by us' }]);
  });
});
