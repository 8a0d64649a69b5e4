import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isSnapshotId, snapshotIdOf } from '../../../src/model/snapshot-id.ts';
import { isVolumeId } from '../../../src/model/volume-id.ts';
import { failureOf } from '../../support/failure-of.ts';
import { callFor, createRequest, dead, until, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const snap = (
  { service }: LabProcess,
  name: string,
  sourceVolumeId = 'a',
  parameters: Readonly<Record<string, string>> = {},
) => service.createSnapshot({ name, sourceVolumeId, parameters }, callFor());
const all = { maxEntries: 0, startingToken: '' };

async function startWithVolume(): Promise<LabProcess> {
  const process = await lab.start();
  await process.service.createVolume(
    createRequest('a', {
      parameters: {
        backend: 'directory',
        onDelete: 'scrub',
        scrub: 'random',
        'csi.storage.k8s.io/pvc/name': 'data',
        'csi.storage.k8s.io/pvc/namespace': 'team',
        'loam.dev/claim-uid': 'u-1',
      },
    }),
    callFor(),
  );
  return process;
}

describe('a snapshot id', () => {
  test.each(['s', 'snapshot-1b9d', 'h-abc', 'x'.repeat(128), 'Ünï', 'a/b', '..', 'snap_x', 'A'])(
    'of the name %j is never a volume’s, is one component, and is always the same',
    (name) => {
      const id = snapshotIdOf(name);
      expect(isSnapshotId(id)).toBe(true);
      expect(isVolumeId(id)).toBe(false);
      expect(id).toMatch(/^[a-z0-9_.-]+$/);
      expect(Buffer.byteLength(id)).toBeLessThanOrEqual(128);
      expect(snapshotIdOf(name)).toBe(id);
    },
  );

  test('shows the name where it can, and two names never share one', () => {
    expect(snapshotIdOf('nightly')).toBe('snap_nightly');
    expect(snapshotIdOf(`h-${'0'.repeat(40)}`)).not.toBe(`snap_h-${'0'.repeat(40)}`);
  });
});

describe('CreateSnapshot', () => {
  test('makes a whole copy with a record that says everything, and a repeat finds it', async () => {
    const process = await startWithVolume();
    const made = await snap(process, 's', 'a', { 'csi.storage.k8s.io/volumesnapshot/name': 'nightly' });
    expect(made).toMatchObject({
      snapshotId: 'snap_s',
      sourceVolumeId: 'a',
      sizeBytes: 1n << 30n,
      isReady: true,
      consistency: 'quiet',
    });
    const folder = join(lab.poolPath(), 'snapshots', 'snap_s');
    expect(existsSync(join(folder, 'data', '.whole'))).toBe(true);
    expect(JSON.parse(await readFile(join(folder, 'snapshot.json'), 'utf8'))).toMatchObject({
      state: 'ready',
      sourceVolumeId: 'a',
      onDelete: 'scrub',
      scrub: 'random',
      claim: { namespace: 'team', name: 'data' },
      parameters: {},
    });
    expect(await snap(process, 's')).toEqual(made);
    expect(process.service.holdsSnapshot('snap_s')).toBe(true);
    expect(process.service.holdsVolume('snap_s')).toBe(false);
  });

  test('is found after a restart, also when its source is gone', async () => {
    const process = await startWithVolume();
    const made = await snap(process, 's');
    await process.service.deleteVolume({ volumeId: 'a' }, callFor());
    await process.stop();
    const next = await lab.start();
    expect(await snap(next, 's')).toEqual(made);
    expect(await next.service.getSnapshot('snap_s')).toEqual(made);
    expect(existsSync(join(lab.poolPath(), 'snapshots', 'snap_s', 'data', '.whole'))).toBe(true);
  });

  test('of the same name and another source is refused, and names both', async () => {
    const process = await startWithVolume();
    await process.service.createVolume(createRequest('b'), callFor());
    await snap(process, 's');
    const failure = await failureOf(snap(process, 's', 'b'));
    expect(failure).toMatchObject({ reason: 'already-exists-different' });
    expect(String(failure)).toMatch(/of volume a, asked is one of volume b/);
  });

  test.each([
    ['', 'a', {}, 'invalid-argument'],
    ['x'.repeat(129), 'a', {}, 'invalid-argument'],
    ['s', '', {}, 'invalid-argument'],
    ['s', 'a', { consistensy: 'accept' }, 'invalid-parameter'],
    ['s', 'a', { consistency: 'maybe' }, 'invalid-parameter'],
    ['s', 'never-was', {}, 'source-not-found'],
    ['s', '../a', {}, 'source-not-found'],
    ['s', 'snap_s', {}, 'source-not-found'],
  ])(
    'named %j of %j with %j is refused as %s and leaves nothing',
    async (name, source, parameters, reason) => {
      const process = await startWithVolume();
      await expect(snap(process, name, source, parameters)).rejects.toMatchObject({ reason });
      expect(await lab.namesIn('snapshots')).toEqual([]);
      expect((await process.service.listSnapshots(all)).entries).toEqual([]);
    },
  );

  test('may have a name of 128 bytes', async () => {
    const process = await startWithVolume();
    expect((await snap(process, 'x'.repeat(128))).isReady).toBe(true);
  });

  test('of a volume that is being made, or lies in the trash, says so', async () => {
    const process = await startWithVolume();
    lab.directory.duringCreate = dead;
    void process.service.createVolume(createRequest('half'), callFor()).catch(() => {});
    await until(() => process.environment.locks.holds('half'));
    // the one that makes it has the lock, so that whoever asks has to ask again
    const call = { signal: AbortSignal.timeout(50) };
    const request = { name: 's', sourceVolumeId: 'half', parameters: {} };
    await expect(process.service.createSnapshot(request, call)).rejects.toMatchObject({ reason: 'busy' });
    lab.directory.duringCreate = async () => {};
    const gates: (() => void)[] = [];
    lab.directory.discard = () => new Promise((resolve) => gates.push(resolve));
    const deleting = process.service.deleteVolume({ volumeId: 'a' }, callFor());
    await until(() => gates.length > 0);
    const failure = await failureOf(snap(process, 's'));
    expect(failure).toMatchObject({ reason: 'source-not-found' });
    expect(String(failure)).toMatch(/is deleted, its bytes are being removed/);
    gates[0]?.();
    await deleting;
  });

  test('of a volume in a pool that is away is unavailable, not missing', async () => {
    const process = await lab.start({ pools: [lab.poolConfig('one'), lab.poolConfig('two')] });
    await rename(lab.poolPath('two'), join(lab.root, 'away'));
    await expect(snap(process, 's', 'somewhere')).rejects.toMatchObject({ reason: 'pool-unavailable' });
    await expect(process.service.deleteSnapshot('snap_s', callFor())).rejects.toMatchObject({
      reason: 'pool-unavailable',
    });
    await expect(process.service.getSnapshot('snap_s')).rejects.toMatchObject({ reason: 'pool-unavailable' });
  });

  test('of a backend without snapshots names the backend', async () => {
    const process = await startWithVolume();
    delete lab.directory.capture;
    await expect(snap(process, 's')).rejects.toThrow(/backend directory of volume a makes no snapshots/);
  });

  test('of a pod’s inline volume is refused', async () => {
    const process = await startWithVolume();
    const pool = process.pools.open()[0];
    const record = pool?.records.get('a');
    if (pool === undefined || record === undefined) throw new Error('the volume is not there');
    const inline = { namespace: 'team', name: 'web-0', uid: 'u', targetPath: '/t' };
    pool.records.put({ ...record, inline });
    await expect(snap(process, 's')).rejects.toThrow(/belongs to .*web-0.* and goes with it/);
  });

  test('of a live volume tells the copy that it is, and which mix of moments will do', async () => {
    const process = await startWithVolume();
    lab.mounts.add('/somewhere', join(lab.poolPath(), 'volumes', 'a', 'data'));
    lab.directory.consistency = 'loose';
    await expect(snap(process, 's')).rejects.toMatchObject({ reason: 'not-consistent' });
    expect(await lab.namesIn('snapshots')).toEqual([]);
    const loose = await snap(process, 's', 'a', { consistency: 'accept' });
    expect(loose.consistency).toBe('loose');
    await expect(snap(process, 's')).rejects.toMatchObject({ reason: 'already-exists-different' });
  });

  test('in a folder that is somebody else’s leaves it alone', async () => {
    const process = await startWithVolume();
    const foreign = join(lab.poolPath(), 'snapshots', 'snap_s');
    await mkdir(foreign);
    await writeFile(join(foreign, 'precious'), 'data');
    await expect(snap(process, 's')).rejects.toMatchObject({ reason: 'data-loss' });
    expect(await readFile(join(foreign, 'precious'), 'utf8')).toBe('data');
    expect((await process.service.listSnapshots(all)).entries).toEqual([]);
  });
});

describe('DeleteSnapshot', () => {
  test('resolves when the last byte is gone, leaves the source, and tells who listens', async () => {
    const process = await startWithVolume();
    await snap(process, 's');
    const removed: string[] = [];
    let spaceTold = 0;
    process.service.onRemoved((id) => removed.push(id));
    process.service.onSpaceChanged(() => (spaceTold += 1));
    await process.service.deleteSnapshot('snap_s', callFor());
    expect(await lab.namesIn('snapshots')).toEqual([]);
    expect(await lab.namesIn('trash')).toEqual([]);
    expect(await lab.namesIn('volumes')).toEqual(['a']);
    expect(removed).toEqual(['snap_s']);
    expect(spaceTold).toBeGreaterThan(0);
    expect(lab.directory.discarded.some((path) => path.includes('snap_s'))).toBe(true);
    await process.service.deleteSnapshot('snap_s', callFor());
  });

  test.each(['a', '..', 'snap_', 'snap_../a', 'snap_never-was', 'x'.repeat(300)])(
    'of %j, which is no snapshot’s, is success and touches nothing',
    async (id) => {
      const process = await startWithVolume();
      await snap(process, 's');
      await process.service.deleteSnapshot(id, callFor());
      expect(await lab.namesIn('volumes')).toEqual(['a']);
      expect(await lab.namesIn('snapshots')).toEqual(['snap_s']);
    },
  );

  test('without an id is refused', async () => {
    const { service } = await lab.start();
    await expect(service.deleteSnapshot('', callFor())).rejects.toMatchObject({ reason: 'invalid-argument' });
  });

  test('is busy while it is read, and says by what', async () => {
    const process = await startWithVolume();
    await snap(process, 's');
    const letGo = process.environment.holds.hold('snap_s', {
      reading: () => 'to volume b, 40 % of 1 GiB copied',
      keepsQuiet: false,
    });
    await expect(process.service.deleteSnapshot('snap_s', callFor())).rejects.toThrow(
      /snapshot snap_s is being copied \(to volume b, 40 % of 1 GiB copied\)/,
    );
    letGo();
    await process.service.deleteSnapshot('snap_s', callFor());
  });

  test('answers a second before the deadline, and a repeat waits on, also after a restart', async () => {
    const process = await startWithVolume();
    await snap(process, 's');
    const gates: (() => void)[] = [];
    lab.directory.discard = () => new Promise((resolve) => gates.push(resolve));
    await expect(process.service.deleteSnapshot('snap_s', callFor(1200))).rejects.toMatchObject({
      reason: 'still-removing',
    });
    expect(process.service.holdsSnapshot('snap_s')).toBe(false);
    gates.forEach((open) => open());
    await process.stop();
    delete lab.directory.discard;
    const next = await lab.start();
    await next.service.deleteSnapshot('snap_s', callFor());
    expect(await lab.namesIn('trash')).toEqual([]);
  });

  test('of one whose record is damaged is refused, and it is kept and not listed', async () => {
    const first = await startWithVolume();
    await snap(first, 's');
    await first.stop();
    await writeFile(join(lab.poolPath(), 'snapshots', 'snap_s', 'snapshot.json'), '{}');
    const process = await lab.start();
    for (const call of [
      () => process.service.deleteSnapshot('snap_s', callFor()),
      () => process.service.getSnapshot('snap_s'),
      () => snap(process, 's'),
    ]) {
      await expect(call()).rejects.toMatchObject({ reason: 'data-loss' });
    }
    expect((await process.service.listSnapshots(all)).entries).toEqual([]);
    expect(existsSync(join(lab.poolPath(), 'snapshots', 'snap_s', 'data', '.whole'))).toBe(true);
    await rm(join(lab.poolPath(), 'snapshots', 'snap_s'), { recursive: true });
  });
});

describe('ListSnapshots', () => {
  test('goes in the order of ids, page by page, and filters', async () => {
    const process = await startWithVolume();
    await process.service.createVolume(createRequest('b'), callFor());
    for (const name of ['s3', 's1', 's2']) await snap(process, name);
    await snap(process, 's4', 'b');
    const list = async (request: object): Promise<readonly string[]> => {
      const page = await process.service.listSnapshots({ ...all, ...request });
      return page.entries.map((entry) => entry.snapshotId);
    };
    expect(await list({})).toEqual(['snap_s1', 'snap_s2', 'snap_s3', 'snap_s4']);
    const first = await process.service.listSnapshots({ maxEntries: 3, startingToken: '' });
    expect(first.entries.map((entry) => entry.snapshotId)).toEqual(['snap_s1', 'snap_s2', 'snap_s3']);
    await process.service.deleteSnapshot('snap_s3', callFor());
    const second = await process.service.listSnapshots({ maxEntries: 3, startingToken: first.nextToken });
    expect(second.entries.map((entry) => entry.snapshotId)).toEqual(['snap_s4']);
    expect(second.nextToken).toBe('');
    expect(await list({ sourceVolumeId: 'b' })).toEqual(['snap_s4']);
    expect(await list({ snapshotId: 'snap_s1' })).toEqual(['snap_s1']);
    expect(await list({ snapshotId: 'snap_s1', sourceVolumeId: 'b' })).toEqual([]);
    expect(await list({ snapshotId: 'unknown' })).toEqual([]);
    expect(await list({ sourceVolumeId: 'unknown' })).toEqual([]);
  });

  test.each([
    'x',
    Buffer.from('after:..').toString('base64url'),
    Buffer.from('after:a').toString('base64url'),
  ])('refuses the token %j', async (startingToken) => {
    const process = await startWithVolume();
    await expect(process.service.listSnapshots({ maxEntries: 1, startingToken })).rejects.toMatchObject({
      reason: 'bad-token',
    });
  });

  test('GetSnapshot of an unknown or empty id says which', async () => {
    const { service } = await startWithVolume();
    await expect(service.getSnapshot('')).rejects.toMatchObject({ reason: 'invalid-argument' });
    await expect(service.getSnapshot('snap_x')).rejects.toMatchObject({ reason: 'snapshot-not-found' });
  });
});
