import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import type { CapacityRange } from '../../../src/model/volume.ts';
import { dyingAt } from '../../support/dying.ts';
import { expectRefused } from '../../support/refusal.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  diskOf,
  GiB,
  mountCapability,
  VolumeLab,
  type LabProcess,
} from '../../support/volume-lab.ts';
import { promised, stage, startWithVolume } from './lab-volume.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

const image = { backend: 'loopback' };
const thick = { backend: 'loopback', provisioning: 'thick' };

function expand({ service }: LabProcess, range: Partial<CapacityRange>, volumeId = 'pvc-a') {
  const capacityRange = { requiredBytes: 0n, limitBytes: 0n, ...range };
  return service.expandVolume({ volumeId, capacityRange }, callFor());
}

const sizeOf = async ({ service }: LabProcess) => (await service.getVolume('pvc-a')).volume.capacityBytes;

describe('ControllerExpandVolume', () => {
  test('gives exactly what is asked, says so everywhere, and after a restart, too', async () => {
    const process = await startWithVolume(lab, image);
    const sizeBytes = 2n * GiB + 4096n;
    expect(await expand(process, { requiredBytes: sizeBytes, limitBytes: sizeBytes })).toEqual({
      capacityBytes: sizeBytes,
      nodeExpansionRequired: false,
    });
    expect(lab.loopback.grown).toEqual([['pvc-a', sizeBytes]]);
    expect([await sizeOf(process), promised(process)]).toEqual([sizeBytes, sizeBytes]);
    await process.stop();
    const next = await lab.start();
    expect([await sizeOf(next), promised(next)]).toEqual([sizeBytes, sizeBytes]);
  });

  test('rounds up to whole blocks and no further', async () => {
    const process = await startWithVolume(lab, image);
    const { capacityBytes } = await expand(process, { requiredBytes: GiB + 1n });
    expect(capacityBytes).toBe(GiB + 4096n);
    await expectRefused(
      expand(process, { requiredBytes: 2n * GiB + 1n, limitBytes: 2n * GiB + 2n }),
      'size-out-of-range',
    );
  });

  test.each([0n, 1n, GiB / 2n, GiB])(
    'never shrinks: %d bytes are asked, the present size is the answer',
    async (requiredBytes) => {
      const process = await startWithVolume(lab, image);
      const range = { requiredBytes, limitBytes: 3n * GiB };
      expect(await expand(process, range)).toEqual({ capacityBytes: GiB, nodeExpansionRequired: false });
      expect(lab.loopback.grown).toEqual([]);
    },
  );

  test.each([
    ['a limit below the present size', { limitBytes: GiB - 1n }, /has 1 GiB already.*never shrink/],
    ['less than nothing', { requiredBytes: -1n }, /negative/],
    ['more than a limit', { requiredBytes: 3n * GiB, limitBytes: 2n * GiB }, /3 GiB.*2 GiB at most/],
    ['more than a volume can have', { requiredBytes: 1n << 63n }, /more than/],
    [
      'more than the pool has now',
      { requiredBytes: 80n * GiB },
      /pvc-a has 1 GiB and is to have 80 GiB, pool one has 69 GiB to give of 100 GiB/,
    ],
    ['more than the pool will ever have', { requiredBytes: 200n * GiB }, /largest possible 100 GiB/],
  ])('refuses %s with OUT_OF_RANGE, and changes nothing', async (_what, range, message) => {
    const process = await startWithVolume(lab, image);
    const other = createRequest('pvc-b', { capacityRange: { requiredBytes: 30n * GiB, limitBytes: 0n } });
    await process.service.createVolume(other, callFor());
    const error = await expectRefused(expand(process, range), 'size-out-of-range');
    expect(error).toMatchObject({ code: 'OUT_OF_RANGE' });
    expect(error.message).toMatch(message);
    expect([await sizeOf(process), promised(process)]).toEqual([GiB, 31n * GiB]);
    expect(lab.loopback.grown).toEqual([]);
  });

  test.each([
    ['no id', '', { requiredBytes: GiB }, 'invalid-argument'],
    ['no size', 'pvc-a', {}, 'invalid-argument'],
    ['an unknown id', 'pvc-b', { requiredBytes: GiB }, 'volume-not-found'],
    ['a path for an id', '../pvc-a', { requiredBytes: GiB }, 'volume-not-found'],
  ] as const)('refuses %s', async (_what, volumeId, range, reason) => {
    await expectRefused(expand(await startWithVolume(lab, image), range, volumeId), reason);
  });

  test('refuses a capability of the other kind', async () => {
    const { service } = await startWithVolume(lab, image);
    const capacityRange = { requiredBytes: 2n * GiB, limitBytes: 0n };
    const request = { volumeId: 'pvc-a', capacityRange, capability: blockCapability };
    await expectRefused(service.expandVolume(request, callFor()), 'invalid-argument');
    await service.expandVolume({ ...request, capability: mountCapability }, callFor());
  });

  test('names the backend whose volumes cannot grow', async () => {
    const process = await startWithVolume(lab, image);
    delete lab.loopback.grow;
    const error = await expectRefused(expand(process, { requiredBytes: 2n * GiB }), 'unimplemented');
    expect(error.message).toContain('loopback');
    expect((await expand(process, { requiredBytes: GiB })).capacityBytes).toBe(GiB);
  });

  test('finds nothing of a deleted volume', async () => {
    const process = await startWithVolume(lab, image);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await expectRefused(expand(process, { requiredBytes: 2n * GiB }), 'volume-not-found');
  });

  test('counts the space before anything grows, so that two volumes never get the same', async () => {
    const process = await startWithVolume(lab, image);
    await process.service.createVolume(createRequest('pvc-b', { parameters: image }), callFor());
    const results = await Promise.allSettled([
      expand(process, { requiredBytes: 60n * GiB }),
      expand(process, { requiredBytes: 60n * GiB }, 'pvc-b'),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(promised(process)).toBe(61n * GiB);
  });

  test('allows a thick volume what the disk has free now, not what may be promised', async () => {
    const process = await startWithVolume(lab, thick, {
      pools: [lab.poolConfig('one', { overcommitRatio: 5 })],
      statFileSystem: diskOf(100n * GiB, 40n * GiB),
    });
    const error = await expectRefused(expand(process, { requiredBytes: 42n * GiB }), 'size-out-of-range');
    expect(error.message).toMatch(/free on disk 40 GiB/);
    expect((await expand(process, { requiredBytes: 39n * GiB })).capacityBytes).toBe(39n * GiB);
  });

  test('counts what is being allocated as taken until it is', async () => {
    const process = await startWithVolume(lab, thick, { statFileSystem: diskOf(100n * GiB, 40n * GiB) });
    const { promise: going, resolve: go } = Promise.withResolvers<void>();
    lab.loopback.duringGrow = () => going;
    const growing = expand(process, { requiredBytes: 31n * GiB });
    await expect.poll(() => lab.loopback.grown.length).toBe(1);
    expect(promised(process)).toBe(31n * GiB);
    const wish = { capabilities: [], parameters: thick };
    expect((await process.service.getCapacity(wish)).maximumVolumeBytes).toBeLessThan(10n * GiB);
    expect((await process.service.getVolume('pvc-a')).volume.capacityBytes).toBe(GiB);
    go();
    await growing;
    expect((await process.service.getCapacity(wish)).maximumVolumeBytes).toBeGreaterThan(30n * GiB);
  });

  test('gives the space back when the disk fills up meanwhile', async () => {
    const process = await startWithVolume(lab, image);
    lab.loopback.duringGrow = () => Promise.reject(new StorageError('out-of-space', 'the pool is full'));
    await expectRefused(expand(process, { requiredBytes: 2n * GiB }), 'out-of-space');
    expect([await sizeOf(process), promised(process)]).toEqual([GiB, GiB]);
  });

  test('answers a second call for the volume with busy, and tells whoever publishes capacity', async () => {
    const process = await startWithVolume(lab, image);
    let told = 0;
    process.service.onSpaceChanged(() => (told += 1));
    const [first, second] = await Promise.allSettled([
      expand(process, { requiredBytes: 2n * GiB }),
      expand(process, { requiredBytes: 3n * GiB }),
    ]);
    expect(first?.status).toBe('fulfilled');
    expect(second).toMatchObject({ status: 'rejected', reason: { reason: 'busy' } });
    expect(told).toBeGreaterThan(0);
  });

  test('says whether what is mounted has yet to grow, also when it is asked again', async () => {
    const process = await startWithVolume(lab, image);
    await stage(lab, process);
    lab.loopback.growsMounted = false;
    const wish = { requiredBytes: 2n * GiB };
    expect(await expand(process, wish)).toEqual({ capacityBytes: 2n * GiB, nodeExpansionRequired: true });
    expect(await expand(process, wish)).toEqual({ capacityBytes: 2n * GiB, nodeExpansionRequired: true });
    lab.loopback.growsMounted = true;
    expect(await expand(process, wish)).toEqual({ capacityBytes: 2n * GiB, nodeExpansionRequired: false });
    expect(promised(process)).toBe(2n * GiB);
  });

  test('keeps in mind that a PV of the volume was seen meanwhile', async () => {
    const process = await startWithVolume(lab, image);
    lab.loopback.duringGrow = () => process.service.acknowledge('pvc-a');
    await expand(process, { requiredBytes: 2n * GiB });
    expect(process.service.unacknowledged()).toEqual([]);
  });

  test('leaves a volume that goes with its pod as its pod wanted it', async () => {
    const process = await lab.start({ inlineMaxBytes: GiB });
    const context = {
      'csi.storage.k8s.io/ephemeral': 'true',
      'csi.storage.k8s.io/pod.name': 'web',
      'csi.storage.k8s.io/pod.namespace': 'team',
      'csi.storage.k8s.io/pod.uid': 'u-1',
      size: '1Gi',
    };
    const targetPath = lab.kubeletPath('pod-1');
    const request = {
      volumeId: 'csi-1',
      stagingTargetPath: '',
      targetPath,
      readonly: false,
      capability: mountCapability,
      volumeContext: context,
    };
    await process.node.publish(request, callFor());
    await expectRefused(expand(process, { requiredBytes: 2n * GiB }, 'csi-1'), 'in-use');
    const onNode = { volumeId: 'csi-1', volumePath: targetPath, requiredBytes: 0n };
    await expectRefused(process.node.expand(onNode, callFor()), 'in-use');
  });
});

test('a growth that fails when the data has grown counts for what the data has', async () => {
  const process = await startWithVolume(lab, image);
  lab.loopback.afterGrow = () => Promise.reject(new StorageError('host-failure', 'losetup failed'));
  await expectRefused(expand(process, { requiredBytes: 2n * GiB }), 'host-failure');
  expect([await sizeOf(process), promised(process)]).toEqual([2n * GiB, 2n * GiB]);
  expect((await expand(process, { requiredBytes: GiB + 4096n })).capacityBytes).toBe(2n * GiB);
});

describe('a process killed while it grows a volume', () => {
  test.each([
    ['grown', 'counts for what the data has'],
    ['recorded', 'has the new size'],
  ] as const)('at %s %s, also where less is asked afterwards', async (step, _what) => {
    const sizeBytes = 2n * GiB;
    const { reached, died } = dyingAt(step);
    void expand(await startWithVolume(lab, image, { reached }), { requiredBytes: 2n * GiB });
    await died;
    const next = await lab.start();
    expect([await sizeOf(next), promised(next)]).toEqual([sizeBytes, sizeBytes]);
    expect((await expand(next, { requiredBytes: GiB + 4096n })).capacityBytes).toBe(sizeBytes);
    expect((await expand(next, { requiredBytes: sizeBytes })).capacityBytes).toBe(sizeBytes);
    expect([await sizeOf(next), promised(next)]).toEqual([sizeBytes, sizeBytes]);
    expect(JSON.parse(await lab.readRecord('pvc-a'))).toMatchObject({ spec: { sizeBytes: `${sizeBytes}` } });
  });
});

describe('NodeExpandVolume', () => {
  test('has what is mounted take the whole volume, and answers its size', async () => {
    const process = await startWithVolume(lab, image);
    const volumePath = await stage(lab, process);
    await expand(process, { requiredBytes: 2n * GiB });
    const request = { volumeId: 'pvc-a', volumePath, requiredBytes: 2n * GiB };
    expect(await process.node.expand(request, callFor())).toBe(2n * GiB);
    expect(await process.node.expand({ ...request, requiredBytes: 0n }, callFor())).toBe(2n * GiB);
    expect(lab.loopback.grownMounted).toEqual([volumePath, volumePath]);
    lab.loopback.growsMounted = false;
    await expectRefused(process.node.expand(request, callFor()), 'cannot-grow-now');
  });

  test('has nothing to do where nothing is mounted that could be behind', async () => {
    const process = await startWithVolume(lab, image);
    const volumePath = await stage(lab, process);
    delete lab.loopback.growMounted;
    expect(await process.node.expand({ volumeId: 'pvc-a', volumePath, requiredBytes: 0n }, callFor())).toBe(
      GiB,
    );
  });

  test.each([
    ['no id', { volumeId: '' }, 'invalid-argument'],
    ['no path', { volumePath: '' }, 'invalid-argument'],
    ['an unknown id', { volumeId: 'pvc-z' }, 'volume-not-found'],
    ['a path where it is not', { volumePath: '/some/path' }, 'path-not-found'],
    ['more than the volume has', { requiredBytes: GiB + 1n }, 'size-out-of-range'],
  ] as const)('refuses %s', async (_what, changes, reason) => {
    const process = await startWithVolume(lab, image);
    const volumePath = await stage(lab, process);
    const request = { volumeId: 'pvc-a', volumePath, requiredBytes: GiB, ...changes };
    await expectRefused(process.node.expand(request, callFor()), reason);
    expect(lab.loopback.grownMounted).toEqual([]);
  });
});
