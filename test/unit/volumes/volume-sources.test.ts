import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CreateVolumeRequest } from '../../../src/model/csi-driver.ts';
import { StorageError } from '../../../src/model/errors.ts';
import type { ContentSource } from '../../../src/model/volume.ts';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { expectRefused } from '../../support/refusal.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  dead,
  diskOf,
  GiB,
  mountCapability,
  until,
  VolumeLab,
  type LabProcess,
  type StartOptions,
} from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const ofVolume = (volumeId = 'pvc-a'): ContentSource => ({ kind: 'volume', volumeId });
const anySize = { requiredBytes: 0n, limitBytes: 0n };

/** A copy of `pvc-a` by a class that says nothing. */
function copyRequest(changes: Partial<CreateVolumeRequest> = {}): CreateVolumeRequest {
  return createRequest('pvc-b', { parameters: {}, contentSource: ofVolume(), ...changes });
}

async function started(options: StartOptions = {}, parameters: Record<string, string> = {}) {
  const process = await lab.start(options);
  await process.service.createVolume(createRequest('pvc-a', { parameters }), callFor());
  await writeFile(imageOf('pvc-a'), 'precious');
  return process;
}

const imageOf = (id: string): string => join(lab.poolPath(), 'volumes', id, 'image');
const promised = ({ pools }: LabProcess) => pools.open()[0]?.promisedBytes();
const create = ({ service }: LabProcess, request: CreateVolumeRequest, timeoutMs?: number) =>
  service.createVolume(request, callFor(timeoutMs));

async function snapshotOf({ service }: LabProcess, sourceVolumeId = 'pvc-a'): Promise<ContentSource> {
  const wish = { name: 'snapshot-1', sourceVolumeId, parameters: {} };
  return { kind: 'snapshot', snapshotId: (await service.createSnapshot(wish, callFor())).snapshotId };
}

function stage({ node }: LabProcess, volumeId = 'pvc-a'): Promise<void> {
  const stagingTargetPath = lab.kubeletPath(`staging-${volumeId}`);
  return node.stage(
    { volumeId, stagingTargetPath, capability: mountCapability, volumeContext: {} },
    callFor(),
  );
}

/** Copies take as long as the test wants. */
function slowCopies(): { readonly go: () => void; readonly begun: Promise<void> } {
  lab.loopback.isSharing = false;
  const { promise: going, resolve: go } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  lab.loopback.duringCopy = async (_source, wish, { signal }) => {
    wish.onProgress?.(GiB / 4n);
    begin();
    signal.throwIfAborted();
    const { promise: ended, reject } = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => reject(signal.reason as Error));
    await Promise.race([going, ended]);
  };
  return { go, begun };
}

describe('CreateVolume from a source', () => {
  test.each(['volume', 'snapshot'] as const)(
    'makes a copy of a %s that goes its own way, says of what, and answers a repeat with it',
    async (kind) => {
      const process = await started();
      const contentSource = kind === 'volume' ? ofVolume() : await snapshotOf(process);
      const copy = await create(process, copyRequest({ contentSource }));
      expect(copy).toMatchObject({ volumeId: 'pvc-b', capacityBytes: GiB, contentSource });
      expect(await readFile(imageOf('pvc-b'), 'utf8')).toBe('precious');
      await writeFile(imageOf('pvc-b'), 'changed');
      expect(await readFile(imageOf('pvc-a'), 'utf8')).toBe('precious');
      expect(await create(process, copyRequest({ contentSource }))).toEqual(copy);
      await process.stop();
      const next = await lab.start();
      expect(await create(next, copyRequest({ contentSource }))).toEqual(copy);
      expect(await readFile(imageOf('pvc-b'), 'utf8')).toBe('changed');
      expect((await next.service.getVolume('pvc-b')).volume).toEqual(copy);
    },
  );

  test('takes the size of the source where none is asked, and may be larger', async () => {
    const process = await started();
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
    const process = await started();
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
    const process = await started({ pools: [lab.poolConfig('one'), lab.poolConfig('two')] }, { pool: 'one' });
    const error = await expectRefused(create(process, copyRequest(changes)), 'source-differs');
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(error.message).toMatch(message);
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('stays in the pool of its source, however much more room another has', async () => {
    const process = await started(
      {
        pools: [lab.poolConfig('one'), lab.poolConfig('two')],
        statFileSystem: async (path) => ({
          ...(await diskOf(100n * GiB)(path)),
          availableBytes: path.endsWith('one') ? 5n * GiB : 100n * GiB,
        }),
      },
      { pool: 'one' },
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
    const process = await started();
    await snapshotOf(process);
    const error = await expectRefused(create(process, copyRequest({ contentSource })), 'source-not-found');
    expect(error).toMatchObject({ code: 'NOT_FOUND' });
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('refuses a source without an id, and one that was deleted', async () => {
    const process = await started();
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
    const process = await started({}, { provisioning: 'thick' });
    lab.loopback.sharesBlocks = async ({ spec }) => spec.provisioning === 'thin';
    lab.loopback.written = GiB;
    await create(process, copyRequest({ parameters: { backend: 'loopback' } }));
    const records = process.pools.open()[0]?.records;
    expect([records?.sharedBytes('pvc-a'), records?.sharedBytes('pvc-b')]).toEqual([GiB, GiB]);
  });

  test('restores a snapshot whose source is gone', async () => {
    const process = await started();
    const contentSource = await snapshotOf(process);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await create(process, copyRequest({ contentSource }));
    expect(await readFile(imageOf('pvc-b'), 'utf8')).toBe('precious');
  });

  test('waits for a pool that is missing rather than saying that the source is', async () => {
    const process = await started({
      pools: [lab.poolConfig('one'), { ...lab.poolConfig('two'), path: join(lab.root, 'away') }],
    });
    for (const contentSource of [ofVolume('pvc-z'), { kind: 'snapshot', snapshotId: 'snap_z' } as const]) {
      await expectRefused(create(process, copyRequest({ contentSource })), 'pool-unavailable');
    }
  });

  test('refuses the name of a volume that began otherwise, and says how', async () => {
    const process = await started();
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
    const process = await started();
    await stage(process);
    lab.loopback.consistency = 'loose';
    await expectRefused(create(process, copyRequest()), 'not-consistent');
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    await create(process, copyRequest({ parameters: { consistency: 'accept' } }));
    expect(JSON.parse(await lab.readRecord('pvc-b'))).toMatchObject({ consistency: 'loose' });
    await expectRefused(create(process, copyRequest()), 'already-exists-different');
  });

  test('tells the backend whether somebody may write to the source', async () => {
    const process = await started();
    const seen: boolean[] = [];
    lab.loopback.duringCopy = async ({ isLive }) => void seen.push(isLive);
    await create(process, copyRequest());
    await stage(process);
    await create(process, copyRequest({ name: 'pvc-c' }));
    await create(process, copyRequest({ name: 'pvc-d', contentSource: await snapshotOf(process) }));
    // the third is the snapshot being taken
    expect(seen).toEqual([false, true, true, false]);
  });

  test('leaves nothing of one that fails, and lets go of the source', async () => {
    const process = await started();
    lab.loopback.duringCopy = () => Promise.reject(new StorageError('out-of-space', 'the pool is full'));
    await expectRefused(create(process, copyRequest()), 'out-of-space');
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  test('names the backend whose volumes cannot be copied', async () => {
    const process = await started();
    delete lab.loopback.createFrom;
    const error = await expectRefused(create(process, copyRequest()), 'unsupported-capability');
    expect(error.message).toContain('loopback');
  });

  test('makes many clones of one source at once', async () => {
    const process = await started();
    const names = Array.from({ length: 20 }, (_, index) => `pvc-copy-${index}`);
    await Promise.all(names.map((name) => create(process, copyRequest({ name }))));
    expect((await lab.namesIn('volumes')).length).toBe(21);
  });
});

describe('a full copy', () => {
  test('outlives its caller, says how far it is, and is joined by a repeat', async () => {
    const process = await started();
    const { go, begun } = slowCopies();
    const error = await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    expect(error).toMatchObject({ code: 'ABORTED' });
    await begun;
    const again = await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    expect(again.message).toMatch(/pvc-b of volume pvc-a: 25 % of 1 GiB copied/);
    // not there yet, for anybody
    await expectRefused(process.service.getVolume('pvc-b'), 'volume-not-found');
    await expectRefused(stage(process, 'pvc-b'), 'volume-not-found');
    const joined = create(process, copyRequest());
    go();
    expect(await joined).toMatchObject({ volumeId: 'pvc-b', contentSource: ofVolume() });
    expect(await readFile(imageOf('pvc-b'), 'utf8')).toBe('precious');
    expect(promised(process)).toBe(2n * GiB);
  });

  test('keeps its source as it is: neither grown nor deleted, and not written to where it was quiet', async () => {
    const process = await started();
    const { go, begun } = slowCopies();
    const copying = create(process, copyRequest());
    await begun;
    const growth = { volumeId: 'pvc-a', capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } };
    const held = await expectRefused(process.service.expandVolume(growth, callFor()), 'busy');
    expect(held.message).toMatch(/pvc-a is being copied \(to volume pvc-b, 25 % of 1 GiB copied\)/);
    await expectRefused(process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor()), 'busy');
    await expectRefused(stage(process), 'busy');
    go();
    await copying;
    await stage(process);
    expect((await process.service.expandVolume(growth, callFor())).capacityBytes).toBe(2n * GiB);
  });

  test('is no source itself until it is done', async () => {
    const process = await started();
    const { go, begun } = slowCopies();
    const copying = create(process, copyRequest());
    await begun;
    const second = copyRequest({ name: 'pvc-c', contentSource: ofVolume('pvc-b') });
    const error = await expectRefused(create(process, second), 'busy');
    expect(error.message).toContain('volume pvc-b is still being made');
    go();
    await copying;
    expect(await create(process, second)).toMatchObject({ volumeId: 'pvc-c' });
  });

  test('of a source in use lets it be used', async () => {
    const process = await started();
    await stage(process);
    const { go, begun } = slowCopies();
    const copying = create(process, copyRequest());
    await begun;
    await stage(process);
    go();
    await copying;
  });

  test('is given up when its volume is deleted, and nothing of it is left', async () => {
    const process = await started();
    const { begun } = slowCopies();
    const copying = create(process, copyRequest());
    await begun;
    const deleting = process.service.deleteVolume({ volumeId: 'pvc-b' }, callFor());
    await expectRefused(copying, 'cancelled');
    await deleting;
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(await lab.namesIn('trash')).toEqual([]);
    expect(promised(process)).toBe(GiB);
    // and the source is free again
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  test('that waits for its turn is given up, too', async () => {
    const process = await started();
    slowCopies();
    const names = ['pvc-b', 'pvc-c', 'pvc-d'];
    for (const name of names)
      await expectRefused(create(process, copyRequest({ name }), 20), 'still-copying');
    expect(existsSync(imageOf('pvc-d'))).toBe(false);
    for (const volumeId of names.toReversed()) await process.service.deleteVolume({ volumeId }, callFor());
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
  });

  test('into a pool that fills up leaves nothing, says so once, and is begun anew by the repeat after', async () => {
    const process = await started();
    lab.loopback.isSharing = false;
    lab.loopback.duringCopy = () => Promise.reject(new StorageError('out-of-space', 'the pool is full'));
    await expectRefused(create(process, copyRequest()), 'out-of-space');
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
    lab.loopback.duringCopy = async () => {};
    await create(process, copyRequest());
  });

  test('whose failure nobody heard tells it to the next who asks', async () => {
    const process = await started();
    lab.loopback.isSharing = false;
    let fail = (_error: StorageError): void => {};
    lab.loopback.duringCopy = () =>
      new Promise((_, reject) => {
        fail = reject;
      });
    await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    fail(new StorageError('out-of-space', 'the pool is full'));
    await until(async () => (await lab.namesIn('volumes')).length === 1);
    await expectRefused(create(process, copyRequest()), 'out-of-space');
  });

  test('is not begun where its data does not fit any more', async () => {
    const process = await started({ statFileSystem: diskOf(100n * GiB, 2n * GiB) });
    lab.loopback.isSharing = false;
    lab.loopback.writtenBytes = async () => 3n * GiB;
    const error = await expectRefused(create(process, copyRequest()), 'out-of-space');
    expect(error.message).toMatch(/free on disk 2 GiB/);
  });

  test('under another shape is refused while it runs', async () => {
    const process = await started();
    const { go, begun } = slowCopies();
    const copying = create(process, copyRequest());
    await begun;
    const capacityRange = { requiredBytes: 2n * GiB, limitBytes: 0n };
    await expectRefused(create(process, copyRequest({ capacityRange })), 'already-exists-different');
    go();
    await copying;
  });

  test('that ends with the process is removed by the next start, and made anew', async () => {
    const process = await started();
    const { begun } = slowCopies();
    await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    await begun;
    expect(existsSync(`${imageOf('pvc-b')}.half`)).toBe(true);
    const next = await lab.start();
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    lab.loopback.duringCopy = async () => {};
    await create(next, copyRequest());
    expect(await readFile(imageOf('pvc-b'), 'utf8')).toBe('precious');
  });
});

describe('a process killed while it copies', () => {
  test.each(['reserved', 'intent', 'data'] as const)(
    'at %s leaves nothing after the next start but the source, free',
    async (step) => {
      const { promise: died, resolve: tell } = Promise.withResolvers<void>();
      const reached = async (at: Step, id: string): Promise<void> => {
        if (at !== step || id !== 'pvc-b') return;
        tell();
        await dead();
      };
      void create(await started({ reached }), copyRequest());
      await died;
      const next = await lab.start();
      expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
      expect(promised(next)).toBe(GiB);
      await create(next, copyRequest());
      await next.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    },
  );
});
