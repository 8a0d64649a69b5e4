import { mkdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { metadataKeys } from '../../../src/model/class-parameters.ts';
import { isReason, StorageError } from '../../../src/model/errors.ts';
import { nodeSegments } from '../../../src/model/topology.ts';
import { backendKey, limitKey, poolUuidKey } from '../../../src/model/volume.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  diskOf,
  GiB,
  until,
  VolumeLab,
  type StartOptions,
} from '../../support/volume-lab.ts';
import { expectRefused } from '../../support/refusal.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const twoPools = (): StartOptions => ({ pools: [lab.poolConfig('one'), lab.poolConfig('two')] });

describe('CreateVolume', () => {
  test('makes data, a record and an answer that name the pool', async () => {
    const { service, pools } = await lab.start();
    const volume = await service.createVolume(createRequest('pvc-a'), callFor());
    expect(volume).toEqual({
      volumeId: 'pvc-a',
      capacityBytes: GiB,
      volumeContext: {
        [poolUuidKey]: pools.open()[0]?.uuid,
        [backendKey]: 'directory',
        [limitKey]: 'enforced',
      },
      accessibleTopology: [nodeSegments('node-a')],
    });
    expect(JSON.parse(await lab.readRecord('pvc-a'))).toMatchObject({ state: 'ready', name: 'pvc-a' });
    const folder = join(lab.poolPath(), 'volumes', 'pvc-a');
    expect(await readFile(join(folder, 'data', '.whole'), 'utf8')).toBe('whole');
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await stat(join(folder, 'volume.json'))).mode & 0o777).toBe(0o600);
  });

  test('answers a repeat with the same volume, also after a restart', async () => {
    const first = await lab.start();
    const volume = await first.service.createVolume(createRequest('pvc-a'), callFor());
    expect(await first.service.createVolume(createRequest('pvc-a'), callFor())).toEqual(volume);
    await first.stop();
    const second = await lab.start();
    expect(await second.service.createVolume(createRequest('pvc-a'), callFor())).toEqual(volume);
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('given up before it began leaves a folder of its name alone, which is somebody else’s', async () => {
    const { service } = await lab.start();
    const foreign = join(lab.poolPath(), 'volumes', 'pvc-a');
    await mkdir(foreign);
    await writeFile(join(foreign, 'precious'), 'data');
    const gone = { signal: AbortSignal.abort(new StorageError('cancelled', 'the caller is gone')) };
    await expectRefused(service.createVolume(createRequest('pvc-a'), gone), 'cancelled');
    expect(await readFile(join(foreign, 'precious'), 'utf8')).toBe('data');
    await expectRefused(service.createVolume(createRequest('pvc-a'), callFor()), 'data-loss');
    expect(await readFile(join(foreign, 'precious'), 'utf8')).toBe('data');
  });

  test('derives an id from a name that cannot be one', async () => {
    const { service } = await lab.start();
    const { volumeId } = await service.createVolume(createRequest('../../etc/Ünïcode'), callFor());
    expect(volumeId).toBe(volumeIdOf('../../etc/Ünïcode'));
    expect(await lab.namesIn('volumes')).toEqual([volumeId]);
  });

  test.each([
    ['size', { capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } }, /1 GiB.*2 GiB/],
    ['limit', { capacityRange: { requiredBytes: 0n, limitBytes: GiB / 2n } }, /at most 512 MiB/],
    ['backend', { parameters: { backend: 'loopback' } }, /backend is directory, asked is loopback/],
    [
      'access type',
      { parameters: {}, capabilities: [blockCapability] },
      /access type is mount, asked is block/,
    ],
    ['owner', { parameters: { backend: 'directory', uid: '7' } }, /uid is unset, asked is 7/],
    [
      'way of deleting',
      { parameters: { backend: 'directory', onDelete: 'scrub' } },
      /onDelete is delete, asked is scrub/,
    ],
    ['pool', { parameters: { backend: 'directory', pool: 'two' } }, /pool is one, asked is two/],
  ])('refuses the same name with another %s, and says both', async (_what, changes, message) => {
    const { service } = await lab.start(twoPools());
    await service.createVolume(
      createRequest('pvc-a', { parameters: { backend: 'directory', pool: 'one' } }),
      callFor(),
    );
    const error = await expectRefused(
      service.createVolume(createRequest('pvc-a', changes), callFor()),
      'already-exists-different',
    );
    expect(error.message).toMatch(message);
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('refuses the name of another claim or cluster', async () => {
    const { service } = await lab.start();
    const facts = (claim: string, cluster: string) => ({
      parameters: {
        backend: 'directory',
        [metadataKeys.claimName]: 'c',
        [metadataKeys.claimNamespace]: 'n',
        [metadataKeys.claimUid]: claim,
        [metadataKeys.clusterUid]: cluster,
      },
    });
    await service.createVolume(createRequest('x', facts('u1', 'c1')), callFor());
    await service.createVolume(createRequest('x', facts('u1', 'c1')), callFor());
    await expectRefused(
      service.createVolume(createRequest('x', facts('u2', 'c1')), callFor()),
      'already-exists-different',
    );
    await expectRefused(
      service.createVolume(createRequest('x', facts('u1', 'c2')), callFor()),
      'already-exists-different',
    );
  });

  test('answers the second of two calls at once with busy, or with the same volume', async () => {
    const { service } = await lab.start();
    const results = await Promise.allSettled([
      service.createVolume(createRequest('pvc-a'), callFor()),
      service.createVolume(createRequest('pvc-a'), callFor()),
    ]);
    expect(results[0]?.status).toBe('fulfilled');
    expect(results[1]).toMatchObject({ status: 'rejected', reason: { reason: 'busy', code: 'ABORTED' } });
  });

  test('makes a hundred different volumes at once', async () => {
    const { service } = await lab.start();
    const names = Array.from({ length: 100 }, (_, index) => `pvc-${index}`);
    const volumes = await Promise.all(
      names.map((name) =>
        service.createVolume(
          createRequest(name, { capacityRange: { requiredBytes: 1n << 20n, limitBytes: 0n } }),
          callFor(),
        ),
      ),
    );
    expect(volumes.map((volume) => volume.volumeId)).toEqual(names);
    expect((await lab.namesIn('volumes')).length).toBe(100);
  });

  test('refuses a topology that excludes this node', async () => {
    const { service } = await lab.start();
    const accessibility = { requisite: [nodeSegments('node-b')], preferred: [] };
    await expectRefused(
      service.createVolume(createRequest('pvc-a', { accessibility }), callFor()),
      'wrong-node',
    );
    await service.createVolume(
      createRequest('pvc-a', {
        accessibility: { requisite: [nodeSegments('node-b'), nodeSegments('node-a')], preferred: [] },
      }),
      callFor(),
    );
  });

  test('links the volume for people under the name of its claim, until it is deleted', async () => {
    const { service } = await lab.start();
    const parameters = {
      backend: 'directory',
      [metadataKeys.claimName]: 'data',
      [metadataKeys.claimNamespace]: 'team',
    };
    await service.createVolume(createRequest('pvc-a', { parameters }), callFor());
    const link = join(lab.poolPath(), 'by-claim', 'team', 'data');
    expect(await readlink(link)).toBe('../../volumes/pvc-a');
    expect((await stat(join(link, 'data'))).isDirectory()).toBe(true);
    await service.createVolume(createRequest('pvc-b', { parameters }), callFor());
    expect(await readlink(link)).toBe('../../volumes/pvc-b');
    await service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    expect(await readlink(link)).toBe('../../volumes/pvc-b');
    await service.deleteVolume({ volumeId: 'pvc-b' }, callFor());
    expect(await lab.namesIn('by-claim')).toEqual([]);
  });

  // the others could be made: an option to whatever lists them, an escape of the terminal, a hidden folder
  test.each([
    ['..', '../../../evil'],
    ['team', '-rf'],
    ['--help', 'data'],
    ['.hidden', 'data'],
    ['team', 'da\u{1b}[2Jta\n'],
    ['Team', 'data'],
    ['team', 'a'.repeat(254)],
  ])('makes no link from names that Kubernetes would not take: %j/%j', async (namespace, name) => {
    const { service } = await lab.start();
    const parameters = {
      backend: 'directory',
      [metadataKeys.claimName]: name,
      [metadataKeys.claimNamespace]: namespace,
    };
    await service.createVolume(createRequest('pvc-a', { parameters }), callFor());
    expect(await lab.namesIn('by-claim')).toEqual([]);
    await service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    // nor at a start, which mends what links are missing
    await service.createVolume(createRequest('pvc-b', { parameters }), callFor());
    await lab.start();
    expect(await lab.namesIn('by-claim')).toEqual([]);
  });

  test('does not touch a folder of that name that has no record', async () => {
    const { service } = await lab.start();
    await mkdir(join(lab.poolPath(), 'volumes', 'pvc-a', 'data'), { recursive: true });
    await writeFile(join(lab.poolPath(), 'volumes', 'pvc-a', 'data', 'precious'), '1');
    await expectRefused(service.createVolume(createRequest('pvc-a'), callFor()), 'data-loss');
    expect(await readFile(join(lab.poolPath(), 'volumes', 'pvc-a', 'data', 'precious'), 'utf8')).toBe('1');
    expect(service.unacknowledged()).toEqual([]);
  });
});

describe('CreateVolume that fails', () => {
  const noSpace = (): Error =>
    Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });

  test.each([
    ['the disk is full', noSpace, 'out-of-space'],
    ['a command fails', () => new StorageError('host-failure', 'mkfs.ext4 exited with 1'), 'host-failure'],
    [
      'the disk became read-only',
      () => Object.assign(new Error('EROFS'), { code: 'EROFS' }),
      'pool-unavailable',
    ],
    ['something unforeseen happens', () => new TypeError('x is not a function'), 'host-failure'],
  ] as const)('because %s leaves nothing behind and gives its space back', async (_what, failure, reason) => {
    const { service, pools } = await lab.start();
    lab.directory.duringCreate = async () => {
      throw failure();
    };
    await expectRefused(service.createVolume(createRequest('pvc-a'), callFor()), reason);
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(pools.open()[0]?.promisedBytes()).toBe(0n);
    lab.directory.duringCreate = async () => {};
    await service.createVolume(createRequest('pvc-a'), callFor());
  });

  test('because the caller went away leaves nothing behind', async () => {
    const { service } = await lab.start();
    lab.directory.duringCreate = (_place, _spec, { signal }) =>
      new Promise((_resolve, reject) => {
        if (signal.aborted) reject(new Error('aborted'));
        signal.addEventListener('abort', () => reject(new Error('aborted')));
      });
    const caller = new AbortController();
    const creating = service.createVolume(createRequest('pvc-a'), { signal: caller.signal });
    await until(async () => (await lab.namesIn('volumes')).length === 1);
    caller.abort();
    await expectRefused(creating, 'cancelled');
    expect(await lab.namesIn('volumes')).toEqual([]);
    const late = service.createVolume(createRequest('pvc-b'), { signal: AbortSignal.timeout(50) });
    await expectRefused(late, 'deadline-exceeded');
    expect(await lab.namesIn('volumes')).toEqual([]);
  });

  test('to undo says that it is not over, and a repeat clears up and succeeds', async () => {
    const { service } = await lab.start();
    lab.directory.duringCreate = async () => {
      throw noSpace();
    };
    const release = lab.directory.release.bind(lab.directory);
    lab.directory.release = async () => {
      throw new Error('device is stuck');
    };
    const error = await expectRefused(
      service.createVolume(createRequest('pvc-a'), callFor()),
      'still-removing',
    );
    expect(error.message).toMatch(/ENOSPC.*device is stuck/);
    await expectRefused(service.createVolume(createRequest('pvc-a'), callFor()), 'still-removing');
    lab.directory.release = release;
    lab.directory.duringCreate = async () => {};
    await service.createVolume(createRequest('pvc-a'), callFor());
    expect(JSON.parse(await lab.readRecord('pvc-a'))).toMatchObject({ state: 'ready' });
  });
});

describe('the space that CreateVolume counts', () => {
  test('refuses what a pool has not left, with the numbers', async () => {
    const { service } = await lab.start({ statFileSystem: diskOf(10n * GiB) });
    await service.createVolume(
      createRequest('a', { capacityRange: { requiredBytes: 8n * GiB, limitBytes: 0n } }),
      callFor(),
    );
    const error = await expectRefused(
      service.createVolume(
        createRequest('b', { capacityRange: { requiredBytes: 3n * GiB, limitBytes: 0n } }),
        callFor(),
      ),
      'out-of-space',
    );
    expect(error.message).toMatch(/needs 3 GiB, pool one has 2 GiB to give of 10 GiB \(promised 8 GiB/);
    expect(error.code).toBe('RESOURCE_EXHAUSTED');
    await expectRefused(
      service.createVolume(
        createRequest('c', { capacityRange: { requiredBytes: 11n * GiB, limitBytes: 0n } }),
        callFor(),
      ),
      // another node may have larger pools
      'out-of-space',
    );
  });

  test('never promises more than there is, however many ask at once', async () => {
    const { service, pools } = await lab.start({ statFileSystem: diskOf(10n * GiB) });
    const results = await Promise.allSettled(
      Array.from({ length: 40 }, (_, index) =>
        service.createVolume(createRequest(`pvc-${index}`), callFor()),
      ),
    );
    expect(results.filter((result) => result.status === 'fulfilled').length).toBe(10);
    for (const result of results) {
      if (result.status === 'rejected') expect(isReason(result.reason, 'out-of-space')).toBe(true);
    }
    expect(pools.open()[0]?.promisedBytes()).toBe(10n * GiB);
  });

  test('is shared by pools on one file system', async () => {
    const { service } = await lab.start({ ...twoPools(), statFileSystem: diskOf(10n * GiB) });
    const eight = { capacityRange: { requiredBytes: 8n * GiB, limitBytes: 0n } };
    await service.createVolume(
      createRequest('a', { ...eight, parameters: { backend: 'directory', pool: 'one' } }),
      callFor(),
    );
    await expectRefused(
      service.createVolume(
        createRequest('b', { ...eight, parameters: { backend: 'directory', pool: 'two' } }),
        callFor(),
      ),
      'out-of-space',
    );
  });

  test('is exactly what GetCapacity offers', async () => {
    const { service } = await lab.start({ statFileSystem: diskOf(10n * GiB + 1234n, 7n * GiB + 999n) });
    for (const parameters of [{ backend: 'directory' }, { backend: 'loopback', provisioning: 'thick' }]) {
      const { maximumVolumeBytes = 0n } = await service.getCapacity({ capabilities: [], parameters });
      const range = (requiredBytes: bigint) => ({
        parameters,
        capacityRange: { requiredBytes, limitBytes: 0n },
      });
      await expectRefused(
        service.createVolume(createRequest('x', range(maximumVolumeBytes + 1n)), callFor()),
        'out-of-space',
      );
      await service.createVolume(createRequest('x', range(maximumVolumeBytes)), callFor());
      await service.deleteVolume({ volumeId: 'x' }, callFor());
    }
  });

  test('goes to the pool with most room', async () => {
    const { service } = await lab.start({
      pools: [lab.poolConfig('one', { reservedShare: 0.5 }), lab.poolConfig('two')],
      statFileSystem: diskOf(10n * GiB),
    });
    await service.createVolume(createRequest('a'), callFor());
    expect(await lab.namesIn('volumes', 'two')).toEqual(['a']);
  });

  test('is refused where the class names a pool that is not configured or not there', async () => {
    await rm(lab.poolPath('two'), { recursive: true });
    const { service } = await lab.start(twoPools());
    await expectRefused(
      service.createVolume(createRequest('a', { parameters: { pool: 'three' } }), callFor()),
      'pool-not-found',
    );
    const error = await expectRefused(
      service.createVolume(createRequest('a', { parameters: { pool: 'two' } }), callFor()),
      'pool-unavailable',
    );
    expect(error.message).toMatch(/two.*does not exist/);
  });
});
