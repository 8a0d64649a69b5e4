import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeSegments } from '../../../src/model/topology.ts';
import { poolUuidKey } from '../../../src/model/volume.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  diskOf,
  GiB,
  mountCapability,
  VolumeLab,
} from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

describe('ListVolumes', () => {
  test('gives every volume once, in pages, though others come and go meanwhile', async () => {
    const { service } = await lab.start();
    for (const name of ['c', 'a', 'e', 'b', 'd']) await service.createVolume(createRequest(name), callFor());
    const first = await service.listVolumes({ maxEntries: 2, startingToken: '' });
    expect(first.entries.map((entry) => entry.volume.volumeId)).toEqual(['a', 'b']);
    await service.deleteVolume({ volumeId: 'b' }, callFor());
    await service.createVolume(createRequest('aa'), callFor());
    const second = await service.listVolumes({ maxEntries: 2, startingToken: first.nextToken });
    expect(second.entries.map((entry) => entry.volume.volumeId)).toEqual(['c', 'd']);
    const third = await service.listVolumes({ maxEntries: 2, startingToken: second.nextToken });
    expect(third.entries.map((entry) => entry.volume.volumeId)).toEqual(['e']);
    expect(third.nextToken).toBe('');
  });

  test('passes over a volume that is deleted while it is looked at', async () => {
    const { service } = await lab.start();
    for (const name of ['a', 'b', 'c']) await service.createVolume(createRequest(name), callFor());
    const condition = lab.directory.condition.bind(lab.directory);
    lab.directory.condition = async (place, spec) => {
      if (spec.id !== 'b') return condition(place, spec);
      await service.deleteVolume({ volumeId: 'b' }, callFor());
      throw Object.assign(new Error('ENOENT: no such file or directory, realpath'), { code: 'ENOENT' });
    };
    const { entries } = await service.listVolumes({ maxEntries: 0, startingToken: '' });
    expect(entries.map(({ volume }) => volume.volumeId)).toEqual(['a', 'c']);
    await service.createVolume(createRequest('b'), callFor());
    await expect(service.getVolume('b')).rejects.toMatchObject({ reason: 'volume-not-found' });
  });

  test.each(['invalid-token', 'YWZ0ZXI6', Buffer.from('after:../x').toString('base64url')])(
    'refuses the token %s',
    async (startingToken) => {
      const { service } = await lab.start();
      await expect(service.listVolumes({ maxEntries: 0, startingToken })).rejects.toMatchObject({
        reason: 'bad-token',
      });
    },
  );

  test('tells which volume lost its data', async () => {
    const { service } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    await rm(join(lab.poolPath(), 'volumes', 'a', 'data'), { recursive: true });
    const { entries } = await service.listVolumes({ maxEntries: 0, startingToken: '' });
    expect(entries[0]?.condition).toEqual({ abnormal: true, message: 'its data is gone' });
    expect((await service.getVolume('a')).condition.abnormal).toBe(true);
    await expect(service.getVolume('b')).rejects.toMatchObject({ reason: 'volume-not-found' });
  });
});

describe('GetCapacity', () => {
  const ask = { capabilities: [], parameters: {} };

  test('sums pools on different disks only, and names the largest volume', async () => {
    const { service } = await lab.start({
      pools: [lab.poolConfig('one'), lab.poolConfig('two')],
      statFileSystem: diskOf(10n * GiB),
    });
    expect(await service.getCapacity(ask)).toMatchObject({
      availableBytes: 10n * GiB,
      maximumVolumeBytes: 10n * GiB,
      minimumVolumeBytes: 8n << 20n,
    });
  });

  test('falls with every promise', async () => {
    const { service } = await lab.start({ statFileSystem: diskOf(10n * GiB) });
    await service.createVolume(createRequest('a'), callFor());
    expect(await service.getCapacity(ask)).toMatchObject({ availableBytes: 9n * GiB });
    await service.deleteVolume({ volumeId: 'a' }, callFor());
    expect(await service.getCapacity(ask)).toMatchObject({ availableBytes: 10n * GiB });
  });

  test.each([
    ['another node', { ...ask, accessibleTopology: nodeSegments('node-b') }],
    ['another topology', { ...ask, accessibleTopology: { zone: 'z' } }],
    ['a pool that is not here', { ...ask, parameters: { pool: 'three' } }],
    [
      'a shape that nothing serves',
      { capabilities: [blockCapability], parameters: { backend: 'directory' } },
    ],
  ])('is nothing for %s', async (_what, request) => {
    const { service } = await lab.start();
    expect(await service.getCapacity(request)).toMatchObject({ availableBytes: 0n, maximumVolumeBytes: 0n });
  });

  test('takes both forms of the request, and no typo', async () => {
    const { service } = await lab.start({ statFileSystem: diskOf(10n * GiB) });
    const own = nodeSegments('node-a');
    const raw = {
      capabilities: [],
      parameters: { 'csi.storage.k8s.io/fstype': 'xfs' },
      accessibleTopology: own,
    };
    const stripped = {
      capabilities: [
        { ...mountCapability, access: { kind: 'mount' as const, fsType: 'xfs', mountFlags: [] } },
      ],
      parameters: {},
      accessibleTopology: own,
    };
    expect((await service.getCapacity(raw)).availableBytes).toBe(10n * GiB);
    expect(await service.getCapacity(stripped)).toEqual(await service.getCapacity(raw));
    await expect(
      service.getCapacity({ capabilities: [], parameters: { limits: 'x' } }),
    ).rejects.toMatchObject({ reason: 'invalid-parameter' });
  });
});

describe('ValidateVolumeCapabilities', () => {
  const ask = { volumeId: 'a', capabilities: [mountCapability], volumeContext: {}, parameters: {} };

  test('confirms what the volume serves and says what it does not', async () => {
    const { service } = await lab.start();
    const { volumeContext } = await service.createVolume(createRequest('a'), callFor());
    const confirm = async (changes: object): Promise<string> => {
      const { confirmed, message } = await service.validateVolumeCapabilities({ ...ask, ...changes });
      expect(confirmed).toBe(message === '');
      return message;
    };
    expect(await confirm({ volumeContext, parameters: { backend: 'directory' } })).toBe('');
    expect(await confirm({ capabilities: [blockCapability] })).toMatch(/for mount, not block/);
    expect(
      await confirm({ capabilities: [{ ...mountCapability, accessMode: 'MULTI_NODE_MULTI_WRITER' }] }),
    ).toMatch(/ReadWriteOnce/);
    expect(await confirm({ volumeContext: { ...volumeContext, 'loam.dev/backend': 'loopback' } })).toMatch(
      /loam.dev\/backend/,
    );
    expect(await confirm({ parameters: { backend: 'directory', onDelete: 'scrub' } })).toMatch(/onDelete/);
    expect(await confirm({ parameters: { backend: 'floppy' } })).toMatch(/floppy/);
  });

  test('knows a volume that is not there, one in another pool, and a request without capabilities', async () => {
    const { service } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    await expect(service.validateVolumeCapabilities({ ...ask, volumeId: 'b' })).rejects.toMatchObject({
      reason: 'volume-not-found',
    });
    await expect(service.validateVolumeCapabilities({ ...ask, volumeId: '' })).rejects.toMatchObject({
      reason: 'invalid-argument',
    });
    await expect(service.validateVolumeCapabilities({ ...ask, capabilities: [] })).rejects.toMatchObject({
      reason: 'invalid-argument',
    });
    await expect(
      service.validateVolumeCapabilities({ ...ask, volumeContext: { [poolUuidKey]: 'x' } }),
    ).rejects.toMatchObject({ reason: 'wrong-pool' });
  });
});
