import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { ChangingWorld } from './changing-world.ts';

const gi = 1n << 30n;
const required = 'volume.alpha.kubernetes.io/pre-resize-capacity';
const notRequired = 'volume.kubernetes.io/node-expansion-not-required';

let world: ChangingWorld;
beforeEach(() => {
  world = new ChangingWorld();
});
afterEach(() => world.end());

async function bound(): Promise<void> {
  await world.start();
  await world.bound();
}

function asked(): string[] {
  return world.driver.expands.map(({ capacityRange }) => String(capacityRange.requiredBytes));
}

describe('growth', () => {
  it('is done at once, and said by PV, claim and events', async () => {
    await bound();
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.status()).toMatchObject({
      allocatedResources: { storage: '2Gi' },
      allocatedResourceStatuses: {},
      conditions: [],
    });
    expect(world.annotations()[notRequired]).toBe('true');
    expect(world.volume()?.metadata.annotations).not.toHaveProperty([required]);
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
    await bound();
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
    await bound();
    world.ask(size);
    await world.pass(0);
    expect(world.driver.expands).toHaveLength(1);
    const [volume, claim, disk] = world.sizes();
    expect(asked()).toEqual([disk]);
    expect(volume).toBe(claim);
    expect(world.status().allocatedResources).toEqual({ storage: size });
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toHaveLength(1);
  });

  it('happens again and again, each time told', async () => {
    await bound();
    for (const size of ['2Gi', '3Gi', '4Gi']) {
      world.ask(size);
      await world.pass(0);
      expect(world.sizes().slice(0, 2)).toEqual([size, size]);
    }
    expect(world.api.all('Event').find(({ reason }) => reason === 'VolumeResizeSuccessful')?.count).toBe(3);
  });

  it('takes what the driver has rounded up to, and does not ask again for it', async () => {
    await bound();
    world.driver.afterExpand = (grown) => ({ ...grown, capacityBytes: 3n * gi });
    world.ask('2Gi');
    await world.pass(20 * 60_000);
    expect(world.sizes().slice(0, 2)).toEqual(['3Gi', '3Gi']);
    expect(world.driver.expands).toHaveLength(1);
  });

  it('takes the request for the size where the driver tells none', async () => {
    await bound();
    world.driver.afterExpand = (grown) => ({ ...grown, capacityBytes: 0n });
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizes().slice(0, 2)).toEqual(['2Gi', '2Gi']);
  });

  it('believes no driver that answers with less than it was asked for', async () => {
    await bound();
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
    await bound();
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
    await bound();
    const gate = Promise.withResolvers<void>();
    world.driver.onExpand = () => gate.promise;
    world.ask('2Gi');
    await world.pass(0);
    world.ask('3Gi');
    await world.pass(0);
    expect(asked()).toEqual([String(2n * gi)]);
    gate.resolve();
    await world.pass(1_000);
    expect(world.sizes()).toEqual(['3Gi', '3Gi', String(3n * gi)]);
    expect(world.conditions()).toEqual([]);
  });

  it('keeps the conditions of others', async () => {
    await bound();
    world.edit((claim) => {
      claim.status = { ...claim.status, conditions: [{ type: 'Audited', status: 'True', message: 'by us' }] };
    });
    world.ask('2Gi');
    await world.pass(0);
    expect(world.status().conditions).toEqual([{ type: 'Audited', status: 'True', message: 'by us' }]);
  });
});

describe('growth that kubelet has to finish', () => {
  beforeEach(async () => {
    world.driver.nodeExpansionRequired = true;
    await bound();
    world.ask('2Gi');
    await world.pass(0);
  });

  it('is left to kubelet, with the PV grown', async () => {
    expect(world.volume()).toMatchObject({
      spec: { capacity: { storage: '2Gi' } },
      metadata: { annotations: { [required]: '1Gi' } },
    });
    expect(world.status()).toMatchObject({
      capacity: { storage: '1Gi' },
      allocatedResourceStatuses: { storage: 'NodeResizePending' },
    });
    expect(world.conditions()).toEqual(['FileSystemResizePending']);
    expect(world.said()).toContain(
      'Normal FileSystemResizeRequired: Require file system resize of volume on node',
    );
    await world.pass(60 * 60_000);
    expect(world.driver.expands).toHaveLength(1);
  });

  it('loses the PV’s note when kubelet has finished', async () => {
    world.edit((claim) => {
      claim.status = { phase: 'Bound', capacity: { storage: '2Gi' }, allocatedResources: { storage: '2Gi' } };
    });
    await world.pass(0);
    expect(world.volume()?.metadata.annotations).not.toHaveProperty([required]);
    expect(world.driver.expands).toHaveLength(1);
  });

  it('is tried anew when kubelet calls it infeasible', async () => {
    world.driver.nodeExpansionRequired = false;
    world.edit((claim) => {
      claim.status = { ...claim.status, allocatedResourceStatuses: { storage: 'NodeResizeInfeasible' } };
    });
    await world.pass(0);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual([]);
  });
});

it('is all kubelet’s where the driver’s controller half cannot grow volumes', async () => {
  world.driver.capabilities = new Set(['CREATE_DELETE_VOLUME']);
  await world.start({ kubeletExpands: true });
  await world.bound();
  world.ask('2Gi');
  await world.pass(0);
  expect(world.driver.expands).toEqual([]);
  expect(world.volume()?.spec.capacity).toEqual({ storage: '2Gi' });
  expect(world.status().allocatedResourceStatuses).toEqual({ storage: 'NodeResizePending' });
});

describe('growth that fails', () => {
  it('tells the claim why its size cannot be had, and rests', async () => {
    await bound();
    world.driver.largestBytes = 3n * gi;
    world.ask('9Gi');
    await world.pass(0);
    const why = 'rpc error: code = OutOfRange desc = volume pvc-uid-1 cannot have 9663676416 bytes';
    expect(world.said()).toContain(
      `Warning VolumeResizeFailed: resize volume "pvc-uid-1" by resizer "loam.dev" failed: ${why}`,
    );
    expect(world.status()).toMatchObject({
      allocatedResourceStatuses: { storage: 'ControllerResizeInfeasible' },
      conditions: [
        { type: 'Resizing', status: 'True' },
        { type: 'ControllerResizeError', status: 'True', message: `failed to expand pvc with ${why}` },
      ],
    });
    expect(world.sizes().slice(0, 2)).toEqual(['1Gi', '1Gi']);
    await world.pass(4 * 60_000);
    expect(world.driver.expands).toHaveLength(1);
    await world.pass(2 * 60_000);
    expect(world.driver.expands).toHaveLength(2);
  });

  it('recovers at once when the claim asks for what can be had', async () => {
    await bound();
    world.driver.largestBytes = 3n * gi;
    world.ask('9Gi');
    await world.pass(0);
    world.ask('2Gi');
    await world.pass(0);
    expect(asked()).toEqual([String(9n * gi), String(2n * gi)]);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.status()).toMatchObject({ allocatedResourceStatuses: {}, conditions: [] });
  });

  it('is tried again when space comes free, but not each time', async () => {
    await bound();
    world.driver.largestBytes = 3n * gi;
    world.ask('9Gi');
    await world.pass(0);
    world.driver.spaceChanged.tell();
    await world.pass(0);
    expect(world.driver.expands).toHaveLength(1);
    world.driver.largestBytes = 99n * gi;
    await world.pass(31_000);
    world.driver.spaceChanged.tell();
    await world.pass(0);
    expect(world.sizes().slice(0, 2)).toEqual(['9Gi', '9Gi']);
  });

  it('keeps to a size that may be on its way, whatever the claim asks for meanwhile', async () => {
    await bound();
    world.driver.onExpand = () => {
      throw new CsiError('DEADLINE_EXCEEDED', 'still at it');
    };
    world.ask('9Gi');
    await world.pass(0);
    world.ask('2Gi');
    await world.pass(1_500);
    expect(new Set(asked())).toEqual(new Set([String(9n * gi)]));
    expect(world.conditions()).toEqual(['Resizing']);
    // also after a restart, which has no memory
    await world.end();
    await world.start();
    expect(new Set(asked())).toEqual(new Set([String(9n * gi)]));
    world.driver.onExpand = undefined;
    await world.pass(10_000);
    expect(world.sizes()).toEqual(['9Gi', '9Gi', String(9n * gi)]);
  });

  it('takes another size after a failure that certainly ended', async () => {
    await bound();
    world.driver.onExpand = ({ capacityRange }) => {
      if (capacityRange.requiredBytes > 3n * gi) throw new CsiError('INTERNAL', 'disk trouble');
    };
    world.ask('9Gi');
    await world.pass(0);
    expect(world.status().allocatedResourceStatuses).toEqual({ storage: 'ControllerResizeInProgress' });
    expect(world.conditions()).toEqual(['Resizing', 'ControllerResizeError']);
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual([]);
  });

  it('that waits for the volume’s release goes on with it', async () => {
    await bound();
    world.driver.onExpand = () => {
      throw new CsiError('FAILED_PRECONDITION', 'cannot grow while it is mounted');
    };
    world.ask('2Gi');
    await world.pass(10 * 60_000);
    const tries = world.driver.expands.length;
    world.driver.onExpand = undefined;
    world.driver.released.tell('pvc-uid-1');
    await world.pass(0);
    expect(world.driver.expands).toHaveLength(tries + 1);
    expect(world.sizes().slice(0, 2)).toEqual(['2Gi', '2Gi']);
  });

  it('is not announced again at each try', async () => {
    await bound();
    world.driver.onExpand = () => {
      throw new CsiError('ABORTED', 'volume pvc-uid-1 is being copied');
    };
    world.ask('2Gi');
    await world.pass(60_000);
    expect(world.driver.expands.length).toBeGreaterThan(3);
    expect(world.api.all('Event').filter(({ reason }) => reason === 'Resizing')).toMatchObject([
      { count: 1 },
    ]);
  });

  it('is given up with its claim', async () => {
    await bound();
    world.driver.onExpand = () => {
      throw new CsiError('ABORTED', 'busy');
    };
    world.ask('2Gi');
    await world.pass(0);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    const tries = world.driver.expands.length;
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toHaveLength(tries);
  });
});

describe('growth among other writers', () => {
  it.each(['PersistentVolumeClaim', 'PersistentVolume'] as const)(
    'never overwrites what was written to the %s meanwhile',
    async (kind) => {
      await bound();
      world.api.before('patch', kind, () => {
        if (kind === 'PersistentVolume')
          world.editVolume((volume) => void (volume.metadata.labels = { a: 'b' }));
        else world.edit((claim) => void (claim.metadata.labels = { a: 'b' }));
      });
      world.ask('2Gi');
      await world.pass(100);
      expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
      const key = kind === 'PersistentVolume' ? 'pvc-uid-1' : 'shop/data';
      expect(world.api.peek(kind, key)?.metadata.labels).toMatchObject({ a: 'b' });
    },
  );

  it('keeps a condition that others write at the same moment', async () => {
    await bound();
    world.api.before('patch', 'PersistentVolumeClaim', () => {
      world.edit((claim) => {
        claim.status = { ...claim.status, conditions: [{ type: 'Audited', status: 'True' }] };
      });
    });
    world.ask('2Gi');
    await world.pass(100);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual(['Audited']);
  });

  it('outlives an API server that does not take its writes', async () => {
    await bound();
    world.api.fail('patch', 'PersistentVolumeClaim', new ApiError(500, 'InternalError', 'no'), { times: 3 });
    world.api.fail('patch', 'PersistentVolume', new ApiError(503, 'ServiceUnavailable', 'no'), { times: 2 });
    world.ask('2Gi');
    await world.pass(5 * 60_000);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual([]);
  });

  it('touches no volume of another node', async () => {
    await bound();
    world.editVolume((volume) => void (volume.spec.nodeAffinity = {}));
    world.ask('2Gi');
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toEqual([]);
  });
});
