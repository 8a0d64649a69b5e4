import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { ChangingWorld } from './changing-world.ts';

let world: ChangingWorld;
beforeEach(async () => {
  world = new ChangingWorld();
  world.attributesClass('gold', { limit: 'enforced' });
  world.attributesClass('silver', { limit: 'advisory' });
});
afterEach(() => world.end());

async function bound(): Promise<void> {
  await world.start();
  await world.bound();
}

/** What the disk, the PV and the claim say that the volume has. */
function attributes(): readonly unknown[] {
  return [
    world.driver.volumes.get('pvc-uid-1')?.modified,
    world.volume()?.spec.volumeAttributesClassName,
    world.status().currentVolumeAttributesClassName,
  ];
}
const gold = [{ limit: 'enforced' }, 'gold', 'gold'];
const silver = [{ limit: 'advisory' }, 'silver', 'silver'];

function expectNothingUnderWay(): void {
  expect(world.status().modifyVolumeStatus).toBeUndefined();
  expect(world.conditions()).toEqual([]);
}

function fails(code: ConstructorParameters<typeof CsiError>[0], forLimit = 'enforced'): void {
  world.driver.onModify = ({ mutableParameters }) => {
    if (mutableParameters['limit'] === forLimit) throw new CsiError(code, 'limit: cannot be changed');
  };
}

describe('a VolumeAttributesClass', () => {
  it('is applied when the claim names it, and said by PV, claim and events', async () => {
    await bound();
    world.name('gold');
    await world.pass(0);
    expect(attributes()).toEqual(gold);
    expectNothingUnderWay();
    expect(world.said()).toEqual([
      'Normal VolumeModify: external resizer is modifying volume data with vac gold',
      'Normal VolumeModifySuccessful: external resizer modified volume data with vac gold successfully',
    ]);
    await world.pass(20 * 60_000);
    expect(world.driver.modifies).toHaveLength(1);
  });

  it('gives way to the next', async () => {
    await bound();
    for (const [name, expected] of [
      ['gold', gold],
      ['silver', silver],
      ['gold', gold],
    ] as const) {
      world.name(name);
      await world.pass(0);
      expect(attributes()).toEqual(expected);
    }
  });

  it('is said to be on its way while it is', async () => {
    await bound();
    world.driver.onModify = () => new Promise(() => {});
    world.name('gold');
    await world.pass(0);
    expect(world.status()).toMatchObject({
      modifyVolumeStatus: { targetVolumeAttributesClassName: 'gold', status: 'InProgress' },
      conditions: [{ type: 'ModifyingVolume', status: 'True' }],
    });
  });

  it('that does not exist is waited for', async () => {
    await bound();
    world.name('bronze');
    await world.pass(0);
    expect(world.status().modifyVolumeStatus).toEqual({
      targetVolumeAttributesClassName: 'bronze',
      status: 'Pending',
    });
    expect(world.said()).toEqual([
      'Warning VolumeModifyFailed: VolumeAttributesClass "bronze" does not exist',
    ]);
    world.attributesClass('bronze', { limit: 'none' });
    await world.pass(0);
    expect(attributes()).toEqual([{ limit: 'none' }, 'bronze', 'bronze']);
    expectNothingUnderWay();
  });

  it('of another driver is not applied, and the claim told why', async () => {
    await bound();
    world.attributesClass('theirs', {}, 'ebs.csi.aws.com');
    world.name('theirs');
    await world.pass(10_000);
    expect(world.driver.modifies).toEqual([]);
    expect(world.status().modifyVolumeStatus?.status).toBe('Pending');
    expect(world.said()).toEqual([
      'Warning VolumeModifyFailed: VolumeAttributesClass "theirs" is of driver ebs.csi.aws.com, the volume of loam.dev',
    ]);
  });

  it('that the volume cannot have is told, rested from, and given up for another', async () => {
    await bound();
    fails('INVALID_ARGUMENT');
    world.name('gold');
    await world.pass(0);
    expect(world.status()).toMatchObject({
      modifyVolumeStatus: { targetVolumeAttributesClassName: 'gold', status: 'Infeasible' },
      conditions: [
        { type: 'ModifyingVolume', message: 'Modifying volume to "gold" failed. Waiting for retry.' },
        { type: 'ModifyVolumeError', reason: 'InvalidArgument', message: 'limit: cannot be changed' },
      ],
    });
    expect(world.said()).toContain(
      'Warning VolumeModifyFailed: rpc error: code = InvalidArgument desc = limit: cannot be changed',
    );
    await world.pass(4 * 60_000);
    expect(world.driver.modifies).toHaveLength(1);
    world.name('silver');
    await world.pass(0);
    expect(attributes()).toEqual(silver);
    expectNothingUnderWay();
  });

  it('that may be on its way stays the target, whatever the claim names meanwhile, also after a restart', async () => {
    await bound();
    fails('DEADLINE_EXCEEDED');
    world.name('gold');
    await world.pass(0);
    world.name('silver');
    await world.pass(1_500);
    await world.end();
    await world.start();
    expect(new Set(world.driver.modifies.map(({ mutableParameters }) => mutableParameters['limit']))).toEqual(
      new Set(['enforced']),
    );
    expect(world.status().modifyVolumeStatus).toMatchObject({ targetVolumeAttributesClassName: 'gold' });
    world.driver.onModify = undefined;
    await world.pass(10_000);
    expect(attributes()).toEqual(silver);
    expectNothingUnderWay();
    expect(world.said().join()).toContain('Still modifying to VAC gold');
  });

  it('gives way at once after a failure that certainly ended', async () => {
    await bound();
    fails('INTERNAL');
    world.name('gold');
    await world.pass(0);
    expect(world.status().modifyVolumeStatus?.status).toBe('InProgress');
    world.name('silver');
    await world.pass(0);
    expect(attributes()).toEqual(silver);
  });

  it('says how long the volume is retained, on the PV and not to the driver', async () => {
    world.attributesClass('patient', { limit: 'enforced', retainFor: '48h' });
    world.attributesClass('vague', { retainFor: 'long' });
    await bound();
    world.name('patient');
    await world.pass(0);
    expect(attributes()).toEqual([{ limit: 'enforced' }, 'patient', 'patient']);
    expect(world.volume()?.metadata.annotations).toMatchObject({ 'loam.dev/retain-for': '48h' });
    world.name('vague');
    await world.pass(0);
    expect(world.status().modifyVolumeStatus).toEqual({
      targetVolumeAttributesClassName: 'vague',
      status: 'Infeasible',
    });
    expect(world.said().join()).toMatch(/attribute retainFor: "long" is not a duration/);
    expect(world.driver.modifies).toHaveLength(1);
    expect(world.volume()?.metadata.annotations).toMatchObject({ 'loam.dev/retain-for': '48h' });
  });

  it('that a claim is made with says how long its volume is retained, whatever its StorageClass says', async () => {
    world.attributesClass('patient', { retainFor: '48h' });
    await world.start();
    world.claim({ spec: { volumeAttributesClassName: 'patient' } });
    await world.pass(0);
    expect(world.driver.creates.at(-1)?.mutableParameters).toEqual({});
    expect(world.volume()?.metadata.annotations).toMatchObject({ 'loam.dev/retain-for': '48h' });
  });

  it('is cancelled by going back to the one that the volume has', async () => {
    await bound();
    world.name('silver');
    await world.pass(0);
    fails('INVALID_ARGUMENT');
    world.name('gold');
    await world.pass(0);
    world.name('silver');
    await world.pass(0);
    expect(attributes()).toEqual(silver);
    expectNothingUnderWay();
    expect(world.said()).toContain('Normal VolumeModifyCanceled: Cancelled modify.');
  });

  it('is cancelled by naming none', async () => {
    await bound();
    fails('INVALID_ARGUMENT');
    world.name('gold');
    await world.pass(0);
    world.name(undefined);
    await world.pass(0);
    expectNothingUnderWay();
    expect(world.said()).toContain('Normal VolumeModifyCanceled: Cancelled modify.');
  });

  it('is not applied to volumes of others, nor where that is switched off', async () => {
    await bound();
    world.editVolume((volume) => void (volume.spec.nodeAffinity = {}));
    world.name('gold');
    await world.pass(20 * 60_000);
    await world.end();
    world.editVolume((volume) => {
      volume.spec.nodeAffinity = {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: ['node-a'] }] },
          ],
        },
      };
    });
    await world.start({ modification: false });
    await world.pass(20 * 60_000);
    expect(world.driver.modifies).toEqual([]);
    await world.end();
    await world.start();
    expect(attributes()).toEqual(gold);
  });

  it('waits for an API server that does not serve its kind yet', async () => {
    const missing = new ApiError(404, 'NotFound', 'the server could not find the requested resource');
    world.api.fail('list', 'VolumeAttributesClass', missing, { times: 2 });
    await bound();
    world.name('gold');
    await world.pass(0);
    expect(world.status().modifyVolumeStatus?.status).toBe('Pending');
    await world.pass(2 * 60_000);
    expect(attributes()).toEqual(gold);
    expectNothingUnderWay();
  });

  it('never overwrites what others write meanwhile', async () => {
    await bound();
    for (const kind of ['PersistentVolumeClaim', 'PersistentVolume'] as const) {
      world.api.before('patch', kind, () => {
        if (kind === 'PersistentVolume')
          world.editVolume((volume) => void (volume.metadata.labels = { a: 'b' }));
        else world.edit((claim) => void (claim.metadata.labels = { a: 'b' }));
      });
    }
    world.name('gold');
    await world.pass(1_000);
    expect(attributes()).toEqual(gold);
    expect(world.volume()?.metadata.labels).toMatchObject({ a: 'b' });
  });
});

it('growth and a change of attributes at once both come to their end', async () => {
  await bound();
  world.edit((claim) => {
    claim.spec.resources = { requests: { storage: '2Gi' } };
    claim.spec.volumeAttributesClassName = 'gold';
  });
  await world.pass(2_000);
  expect(attributes()).toEqual(gold);
  expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n << 30n)]);
  expectNothingUnderWay();
});
