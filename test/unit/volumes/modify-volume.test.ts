import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { limitKey } from '../../../src/model/volume.ts';
import { dyingAt } from '../../support/dying.ts';
import { expectRefused } from '../../support/refusal.ts';
import {
  callFor,
  createRequest,
  diskOf,
  GiB,
  mountCapability,
  VolumeLab,
  type LabProcess,
  type StartOptions,
} from '../../support/volume-lab.ts';
import { promised, startWithVolume } from './lab-volume.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

const image = { backend: 'loopback' };
const folder = { backend: 'directory', limit: 'advisory' };

function modify({ service }: LabProcess, mutableParameters: Record<string, string>, volumeId = 'pvc-a') {
  return service.modifyVolume({ volumeId, mutableParameters }, callFor());
}

const recordOf = async () => JSON.parse(await lab.readRecord('pvc-a')) as Record<string, unknown>;

describe('ControllerModifyVolume', () => {
  test('changes what is done on deletion in the record, for good', async () => {
    const process = await startWithVolume(lab, image);
    await modify(process, { onDelete: 'scrub', scrub: 'random' });
    expect(await recordOf()).toMatchObject({ onDelete: 'scrub', scrub: 'random', parameters: image });
    await modify(process, { scrub: 'zero' });
    await process.stop();
    await modify(await lab.start(), {});
    expect(await recordOf()).toMatchObject({ onDelete: 'scrub', scrub: 'zero' });
    expect(lab.loopback.reshaped).toEqual([]);
  });

  test('refuses to refill what shares its blocks where the pool could not write them anew', async () => {
    const statFileSystem: StartOptions['statFileSystem'] = async (path) => ({
      ...(await diskOf(100n * GiB)(path)),
      availableBytes: GiB + GiB / 2n,
    });
    const process = await startWithVolume(lab, image, { statFileSystem });
    lab.loopback.written = GiB;
    const records = process.pools.open()[0]?.records;
    records?.noteShared('pvc-a', GiB);
    process.pools.open()[0]?.allocating.set('pvc-c', GiB);
    await expectRefused(modify(process, { provisioning: 'thick' }), 'out-of-space');
    expect(lab.loopback.reshaped).toEqual([]);
    records?.noteShared('pvc-a', 0n);
    await modify(process, { provisioning: 'thick' });
  });

  test('refills a thin image, and only lets go of the promise of a thick one', async () => {
    const process = await startWithVolume(lab, image);
    await modify(process, { provisioning: 'thick' });
    expect(lab.loopback.reshaped.map(([from, to]) => [from.provisioning, to.provisioning])).toEqual([
      ['thin', 'thick'],
    ]);
    expect(await recordOf()).toMatchObject({ spec: { provisioning: 'thick' } });
    await modify(process, { provisioning: 'thin' });
    expect(await recordOf()).toMatchObject({ spec: { provisioning: 'thin' } });
    expect(promised(process)).toBe(GiB);
  });

  test('holds a limit that was advisory where the backend can, and tells the volume’s readers', async () => {
    const process = await startWithVolume(lab, folder);
    await modify(process, { limit: 'enforced' });
    expect(lab.directory.reshaped.map(([from, to]) => [from.limit, to.limit])).toEqual([
      ['advisory', 'enforced'],
    ]);
    const { volume } = await process.service.getVolume('pvc-a');
    expect(volume.volumeContext).toMatchObject({ [limitKey]: 'enforced' });
    // the PV's attributes are what they were
    const confirmed = await process.service.validateVolumeCapabilities({
      volumeId: 'pvc-a',
      capabilities: [mountCapability],
      volumeContext: { ...volume.volumeContext, [limitKey]: 'advisory' },
      parameters: folder,
    });
    expect(confirmed).toEqual({ confirmed: true, message: '' });
  });

  test('makes no other volume of it: a repeat of its creation finds it', async () => {
    const process = await startWithVolume(lab, folder);
    await modify(process, { limit: 'enforced', onDelete: 'scrub' });
    const request = createRequest('pvc-a', { parameters: folder });
    expect((await process.service.createVolume(request, callFor())).volumeId).toBe('pvc-a');
    await expectRefused(
      process.service.createVolume({ ...request, parameters: { backend: 'directory' } }, callFor()),
      'already-exists-different',
    );
  });

  test.each([
    [
      'an unknown key',
      { retainfor: '24h' },
      /unknown parameter "retainfor".*limit, provisioning, onDelete, scrub/,
    ],
    ['what only a class can say', { pool: 'two' }, /"pool" is decided when a volume is made/],
    ['a misspelt value', { limit: 'maybe' }, /limit is "maybe"; it can be enforced, advisory/],
    ['limits of io', { iops: '100' }, /"iops": io limits are not set here.*cgroups.*kubelet/],
    ['limits of io by another name', { 'read-bps': '1' }, /"read-bps": io limits/],
    ['a scrub that would never be done', { scrub: 'zero' }, /does nothing without onDelete: scrub/],
    ['a scrub of nothing', { onDelete: 'delete', scrub: 'zero' }, /does nothing without/],
  ])('refuses %s by name, and changes nothing', async (_what, parameters, message) => {
    const process = await startWithVolume(lab, image);
    const before = await recordOf();
    const wish = { onDelete: 'scrub', ...parameters };
    const error = await expectRefused(
      modify(process, 'scrub' in parameters ? parameters : wish),
      'invalid-parameter',
    );
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(error.message).toMatch(message);
    expect(await recordOf()).toEqual(before);
  });

  test.each([
    [{ provisioning: 'thick' }, 'invalid-parameter', /cannot allocate ahead/],
    [{ limit: 'enforced' }, 'limit-not-enforced', /nothing holds a size limit here/],
  ] as const)('refuses %j where the backend cannot', async (parameters, reason, message) => {
    lab.directory.probed = { usable: true, enforcesLimit: false, detail: 'no quota' };
    const process = await startWithVolume(lab, folder);
    const error = await expectRefused(modify(process, parameters), reason);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(error.message).toMatch(message);
  });

  test('names the backend that cannot reshape what is there', async () => {
    const process = await startWithVolume(lab, image);
    delete lab.loopback.reshape;
    const error = await expectRefused(modify(process, { provisioning: 'thick' }), 'invalid-parameter');
    expect(error.message).toMatch(/backend loopback.*onDelete, scrub/);
    await modify(process, { provisioning: 'thin', limit: 'enforced', onDelete: 'scrub' });
  });

  test('passes over what a sidecar adds about the claim', async () => {
    await modify(await startWithVolume(lab, image), {
      'csi.storage.k8s.io/pvc/name': 'data',
      onDelete: 'scrub',
    });
    expect(await recordOf()).toMatchObject({ onDelete: 'scrub' });
  });

  test.each([
    ['no id', '', 'invalid-argument'],
    ['an unknown id', 'pvc-z', 'volume-not-found'],
  ] as const)('refuses %s', async (_what, volumeId, reason) => {
    await expectRefused(modify(await startWithVolume(lab, image), {}, volumeId), reason);
  });

  test('refuses to refill what the disk has no room for, with its numbers, and takes nothing', async () => {
    const options = {
      pools: [lab.poolConfig('one', { overcommitRatio: 5 })],
      statFileSystem: diskOf(100n * GiB, GiB / 2n),
    };
    const process = await startWithVolume(lab, image, options);
    const error = await expectRefused(modify(process, { provisioning: 'thick' }), 'out-of-space');
    expect(error.message).toMatch(/1 GiB is to be allocated in full.*free on disk 512 MiB/);
    expect(lab.loopback.reshaped).toEqual([]);
    // what is written already need not be allocated again
    lab.loopback.writtenBytes = async () => (3n * GiB) / 4n;
    await modify(process, { provisioning: 'thick' });
  });

  test('keeps the record as it is where the backend fails', async () => {
    const process = await startWithVolume(lab, image);
    lab.loopback.reshape = () => Promise.reject(new StorageError('out-of-space', 'the pool is full'));
    await expectRefused(modify(process, { provisioning: 'thick', onDelete: 'scrub' }), 'out-of-space');
    expect(await recordOf()).toMatchObject({ spec: { provisioning: 'thin' }, onDelete: 'delete' });
  });

  test.each(['reshaped', 'recorded'] as const)('killed at %s ends right on a repeat', async (step) => {
    const { reached, died } = dyingAt(step);
    const wish = { provisioning: 'thick', onDelete: 'scrub' };
    void modify(await startWithVolume(lab, image, { reached }), wish);
    await died;
    await modify(await lab.start(), wish);
    expect(await recordOf()).toMatchObject({ spec: { provisioning: 'thick' }, onDelete: 'scrub' });
  });
});

describe('CreateVolume with a VolumeAttributesClass', () => {
  const mutable = { provisioning: 'thick', onDelete: 'scrub' };

  test('makes the volume so from the start, and knows it again', async () => {
    const { service } = await lab.start();
    const request = createRequest('pvc-a', { parameters: image, mutableParameters: mutable });
    await service.createVolume(request, callFor());
    expect(await recordOf()).toMatchObject({
      spec: { provisioning: 'thick' },
      onDelete: 'scrub',
      parameters: image,
      mutable,
    });
    await service.createVolume(request, callFor());
    await service.modifyVolume({ volumeId: 'pvc-a', mutableParameters: { provisioning: 'thin' } }, callFor());
    await service.createVolume(request, callFor());
    await expectRefused(
      service.createVolume(createRequest('pvc-a', { parameters: image }), callFor()),
      'already-exists-different',
    );
  });

  test.each([{ retainFor: '1h' }, { provisioning: 'fat' }, { scrub: 'zero' }])(
    'refuses %j',
    async (mutableParameters) => {
      const { service } = await lab.start();
      const request = createRequest('pvc-a', { parameters: image, mutableParameters });
      await expectRefused(service.createVolume(request, callFor()), 'invalid-parameter');
    },
  );
});

describe('the capabilities', () => {
  const sorted = async ({ service }: LabProcess) => [...(await service.getControllerCapabilities())].sort();

  test('follow from the verbs of the backends that work in an open pool', async () => {
    const process = await lab.start();
    expect(await sorted(process)).toEqual([
      'CLONE_VOLUME',
      'CREATE_DELETE_SNAPSHOT',
      'CREATE_DELETE_VOLUME',
      'EXPAND_VOLUME',
      'GET_CAPACITY',
      'GET_SNAPSHOT',
      'GET_VOLUME',
      'LIST_SNAPSHOTS',
      'LIST_VOLUMES',
      'MODIFY_VOLUME',
      'SINGLE_NODE_MULTI_WRITER',
      'VOLUME_CONDITION',
    ]);
    delete lab.loopback.grow;
    expect(await sorted(process)).toContain('EXPAND_VOLUME');
    delete lab.directory.grow;
    expect(await sorted(process)).not.toContain('EXPAND_VOLUME');
  });

  test('have nothing of a backend that does not work there', async () => {
    lab.loopback.probed = { usable: false, detail: 'no loop devices' };
    for (const verb of ['createFrom', 'capture'] as const) delete lab.directory[verb];
    const capabilities = await sorted(await lab.start());
    expect(capabilities).not.toContain('CLONE_VOLUME');
    expect(capabilities.join()).not.toContain('SNAPSHOT');
    expect(capabilities).toContain('EXPAND_VOLUME');
  });
});
