import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChangingWorld, resizeNote } from './changing-world.ts';

const gi = 1n << 30n;

let world: ChangingWorld;
beforeEach(() => {
  world = new ChangingWorld();
});
afterEach(() => world.end());

describe('growth that kubelet has to finish', () => {
  beforeEach(async () => {
    world.driver.nodeExpansionRequired = true;
    await world.startBound();
    world.ask('2Gi');
    await world.pass(0);
  });

  it('is left to kubelet, with the PV grown', async () => {
    expect(world.volume()).toMatchObject({
      spec: { capacity: { storage: '2Gi' } },
      metadata: { annotations: { [resizeNote]: '1Gi' } },
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
    expect(world.volume()?.metadata.annotations).not.toHaveProperty([resizeNote]);
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
