import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { expectRefused } from '../../support/refusal.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  diskOf,
  GiB,
  mountCapability,
  VolumeLab,
} from '../../support/volume-lab.ts';
import { copyRequest, create, imageOf, ofVolume, snapshotOf, startWithSource } from './lab-copy.ts';
import { promised, stage } from './lab-volume.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const anySize = { requiredBytes: 0n, limitBytes: 0n };

describe('CreateVolume from a source', () => {
  test.each(['volume', 'snapshot'] as const)(
    'makes a copy of a %s that goes its own way, says of what, and answers a repeat with it',
    async (kind) => {
      const process = await startWithSource(lab);
      const contentSource = kind === 'volume' ? ofVolume() : await snapshotOf(process);
      const copy = await create(process, copyRequest({ contentSource }));
      expect(copy).toMatchObject({ volumeId: 'pvc-b', capacityBytes: GiB, contentSource });
      expect(await readFile(imageOf(lab, 'pvc-b'), 'utf8')).toBe('precious');
      await writeFile(imageOf(lab, 'pvc-b'), 'changed');
      expect(await readFile(imageOf(lab, 'pvc-a'), 'utf8')).toBe('precious');
      expect(await create(process, copyRequest({ contentSource }))).toEqual(copy);
      await process.stop();
      const next = await lab.start();
      expect(await create(next, copyRequest({ contentSource }))).toEqual(copy);
      expect(await readFile(imageOf(lab, 'pvc-b'), 'utf8')).toBe('changed');
      expect((await next.service.getVolume('pvc-b')).volume).toEqual(copy);
    },
  );

  test('takes the size of the source where none is asked, and may be larger', async () => {
    const process = await startWithSource(lab);
    const { capacityBytes } = await create(process, copyRequest({ capacityRange: anySize }));
    expect(capacityBytes).toBe(GiB);
    const larger = copyRequest({ name: 'pvc-c', capacityRange: { requiredBytes: 3n * GiB, limitBytes: 0n } });
    expect((await create(process, larger)).capacityBytes).toBe(3n * GiB);
    expect(promised(process)).toBe(5n * GiB);
  });

  test('counts sizes as they are made: what asks for as little as its source asked for is large enough', async () => {
    const process = await lab.start();
    const little = { capacityRange: { requiredBytes: 1n, limitBytes: 0n } };
    await create(process, createRequest('pvc-a', { parameters: {}, ...little }));
    expect((await create(process, copyRequest(little))).capacityBytes).toBe(8n << 20n);
  });

  test.each([
    ['smaller than the source', { requiredBytes: GiB / 2n, limitBytes: 0n }],
    ['limited to less than the source', { requiredBytes: 0n, limitBytes: GiB / 2n }],
  ])('refuses one that is %s with OUT_OF_RANGE and both numbers', async (_what, capacityRange) => {
    const process = await startWithSource(lab);
    const error = await expectRefused(create(process, copyRequest({ capacityRange })), 'size-out-of-range');
    expect(error.message).toMatch(/512 MiB.*1 GiB/);
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
  });

  test.each([
    ['another volume mode', { capabilities: [blockCapability] }, /volumeMode: Filesystem/],
    ['another file system', { parameters: { 'csi.storage.k8s.io/fstype': 'xfs' } }, /has ext4 and xfs/],
    ['another backend', { parameters: { backend: 'directory' } }, /loopback volume.*backend: directory/],
    ['another pool', { parameters: { pool: 'two' } }, /in pool one.*names two/],
  ])('refuses %s than the source’s, and says which', async (_what, changes, message) => {
    const pools = [lab.poolConfig('one'), lab.poolConfig('two')];
    const process = await startWithSource(lab, { pool: 'one' }, { pools });
    const error = await expectRefused(create(process, copyRequest(changes)), 'source-differs');
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(error.message).toMatch(message);
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('stays in the pool of its source, however much more room another has', async () => {
    const process = await startWithSource(
      lab,
      { pool: 'one' },
      {
        pools: [lab.poolConfig('one'), lab.poolConfig('two')],
        statFileSystem: async (path) => ({
          ...(await diskOf(100n * GiB)(path)),
          availableBytes: path.endsWith('one') ? 5n * GiB : 100n * GiB,
        }),
      },
    );
    await create(process, copyRequest());
    expect(await lab.namesIn('volumes', 'one')).toEqual(['pvc-a', 'pvc-b']);
    const error = await expectRefused(
      create(
        process,
        copyRequest({ name: 'pvc-c', capacityRange: { requiredBytes: 50n * GiB, limitBytes: 0n } }),
      ),
      'out-of-space',
    );
    expect(error.message).toContain('pool one');
    expect(error.message).not.toContain('pool two');
  });

  test('refuses a limit that holds where the source’s backend has none', async () => {
    lab.directory.probed = { usable: true, enforcesLimit: false, detail: 'no quota' };
    const process = await lab.start();
    const advisory = { backend: 'directory', limit: 'advisory' };
    await create(process, createRequest('pvc-a', { parameters: advisory }));
    await expectRefused(create(process, copyRequest()), 'limit-not-enforced');
    await create(process, copyRequest({ parameters: { limit: 'advisory' } }));
  });

  test.each([
    ['an unknown volume', ofVolume('pvc-z')],
    ['an unknown snapshot', { kind: 'snapshot', snapshotId: 'snap_z' }],
    ['itself', ofVolume('pvc-b')],
    ['a path for a volume', ofVolume('../../etc')],
    ['a path for a snapshot', { kind: 'snapshot', snapshotId: 'snap_../../etc' }],
    ['a volume as a snapshot', { kind: 'snapshot', snapshotId: 'pvc-a' }],
    ['a snapshot as a volume', ofVolume('snap_snapshot-1')],
  ] as const)('refuses %s with NOT_FOUND', async (_what, contentSource) => {
    const process = await startWithSource(lab);
    await snapshotOf(process);
    const error = await expectRefused(create(process, copyRequest({ contentSource })), 'source-not-found');
    expect(error).toMatchObject({ code: 'NOT_FOUND' });
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('refuses a source without an id, and one that was deleted', async () => {
    const process = await startWithSource(lab);
    await expectRefused(create(process, copyRequest({ contentSource: ofVolume('') })), 'invalid-argument');
    const contentSource = await snapshotOf(process);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await expectRefused(create(process, copyRequest()), 'source-not-found');
    await process.service.deleteSnapshot('snap_snapshot-1', callFor());
    await expectRefused(create(process, copyRequest({ contentSource })), 'source-not-found');
  });

  test('refuses a volume that goes with its pod', async () => {
    const process = await lab.start({ inlineMaxBytes: GiB });
    const volumeContext = {
      'csi.storage.k8s.io/ephemeral': 'true',
      'csi.storage.k8s.io/pod.name': 'web',
      'csi.storage.k8s.io/pod.namespace': 'team',
      'csi.storage.k8s.io/pod.uid': 'u-1',
      size: '1Gi',
    };
    const paths = { stagingTargetPath: '', targetPath: lab.kubeletPath('pod-1'), readonly: false };
    const request = { volumeId: 'csi-1', capability: mountCapability, volumeContext, ...paths };
    await process.node.publish(request, callFor());
    const error = await expectRefused(
      create(process, copyRequest({ contentSource: ofVolume('csi-1') })),
      'in-use',
    );
    expect(error.message).toMatch(/belongs to .*web/);
  });

  test('counts what a thin copy shares with a thick volume, whose writes take new blocks from then on', async () => {
    const process = await startWithSource(lab, { provisioning: 'thick' });
    lab.loopback.sharesBlocks = async ({ spec }) => spec.provisioning === 'thin';
    lab.loopback.written = GiB;
    await create(process, copyRequest({ parameters: { backend: 'loopback' } }));
    const records = process.pools.open()[0]?.records;
    expect([records?.sharedBytes('pvc-a'), records?.sharedBytes('pvc-b')]).toEqual([GiB, GiB]);
  });

  test('restores a snapshot whose source is gone', async () => {
    const process = await startWithSource(lab);
    const contentSource = await snapshotOf(process);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await create(process, copyRequest({ contentSource }));
    expect(await readFile(imageOf(lab, 'pvc-b'), 'utf8')).toBe('precious');
  });

  test('waits for a pool that is missing rather than saying that the source is', async () => {
    const process = await startWithSource(
      lab,
      {},
      {
        pools: [lab.poolConfig('one'), { ...lab.poolConfig('two'), path: join(lab.root, 'away') }],
      },
    );
    for (const contentSource of [ofVolume('pvc-z'), { kind: 'snapshot', snapshotId: 'snap_z' } as const]) {
      await expectRefused(create(process, copyRequest({ contentSource })), 'pool-unavailable');
    }
  });

  test('refuses the name of a volume that began otherwise, and says how', async () => {
    const process = await startWithSource(lab);
    await create(process, copyRequest());
    for (const contentSource of [await snapshotOf(process), ofVolume('pvc-z')]) {
      const error = await expectRefused(
        create(process, copyRequest({ contentSource })),
        'already-exists-different',
      );
      expect(error.message).toContain('its source is volume pvc-a, asked is');
    }
    await expectRefused(
      create(process, createRequest('pvc-b', { parameters: {} })),
      'already-exists-different',
    );
    await expectRefused(
      create(process, createRequest('pvc-a', { parameters: {}, contentSource: ofVolume() })),
      'already-exists-different',
    );
  });

  test('accepts a copy of several moments only where the class says so', async () => {
    const process = await startWithSource(lab);
    await stage(lab, process);
    lab.loopback.consistency = 'loose';
    await expectRefused(create(process, copyRequest()), 'not-consistent');
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    await create(process, copyRequest({ parameters: { consistency: 'accept' } }));
    expect(JSON.parse(await lab.readRecord('pvc-b'))).toMatchObject({ consistency: 'loose' });
    await expectRefused(create(process, copyRequest()), 'already-exists-different');
  });

  test('tells the backend whether somebody may write to the source', async () => {
    const process = await startWithSource(lab);
    const seen: boolean[] = [];
    lab.loopback.duringCopy = async ({ isLive }) => void seen.push(isLive);
    await create(process, copyRequest());
    await stage(lab, process);
    await create(process, copyRequest({ name: 'pvc-c' }));
    await create(process, copyRequest({ name: 'pvc-d', contentSource: await snapshotOf(process) }));
    // the third is the snapshot being taken
    expect(seen).toEqual([false, true, true, false]);
  });

  test('leaves nothing of one that fails, and lets go of the source', async () => {
    const process = await startWithSource(lab);
    lab.loopback.duringCopy = () => Promise.reject(new StorageError('out-of-space', 'the pool is full'));
    await expectRefused(create(process, copyRequest()), 'out-of-space');
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  test('names the backend whose volumes cannot be copied', async () => {
    const process = await startWithSource(lab);
    delete lab.loopback.createFrom;
    const error = await expectRefused(create(process, copyRequest()), 'unsupported-capability');
    expect(error.message).toContain('loopback');
  });

  test('makes many clones of one source at once', async () => {
    const process = await startWithSource(lab);
    const names = Array.from({ length: 20 }, (_, index) => `pvc-copy-${index}`);
    await Promise.all(names.map((name) => create(process, copyRequest({ name }))));
    expect((await lab.namesIn('volumes')).length).toBe(21);
  });
});
