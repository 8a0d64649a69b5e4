import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { dyingAt } from '../../support/dying.ts';
import { expectRefused } from '../../support/refusal.ts';
import { callFor, diskOf, GiB, until, VolumeLab } from '../../support/volume-lab.ts';
import { copyRequest, create, imageOf, ofVolume, startWithSource } from './lab-copy.ts';
import { pauseCopies, promised, stage } from './lab-volume.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

describe('a full copy', () => {
  test('outlives its caller, says how far it is, and is joined by a repeat', async () => {
    const process = await startWithSource(lab);
    const { finish, begun } = pauseCopies(lab.loopback, GiB / 4n);
    const error = await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    expect(error).toMatchObject({ code: 'ABORTED' });
    await begun;
    const again = await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    expect(again.message).toMatch(/pvc-b of volume pvc-a: 25 % of 1 GiB copied/);
    // not there yet, for anybody
    await expectRefused(process.service.getVolume('pvc-b'), 'volume-not-found');
    await expectRefused(stage(lab, process, 'pvc-b'), 'volume-not-found');
    const joined = create(process, copyRequest());
    finish();
    expect(await joined).toMatchObject({ volumeId: 'pvc-b', contentSource: ofVolume() });
    expect(await readFile(imageOf(lab, 'pvc-b'), 'utf8')).toBe('precious');
    expect(promised(process)).toBe(2n * GiB);
  });

  test('keeps its source as it is: neither grown nor deleted, and not written to where it was quiet', async () => {
    const process = await startWithSource(lab);
    const { finish, begun } = pauseCopies(lab.loopback, GiB / 4n);
    const copying = create(process, copyRequest());
    await begun;
    const growth = { volumeId: 'pvc-a', capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } };
    const held = await expectRefused(process.service.expandVolume(growth, callFor()), 'busy');
    expect(held.message).toMatch(/pvc-a is being copied \(to volume pvc-b, 25 % of 1 GiB copied\)/);
    await expectRefused(process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor()), 'busy');
    await expectRefused(stage(lab, process), 'busy');
    finish();
    await copying;
    await stage(lab, process);
    expect((await process.service.expandVolume(growth, callFor())).capacityBytes).toBe(2n * GiB);
  });

  test('that is thick counts as still to be allocated until the first of it is copied, and not twice after that', async () => {
    const process = await startWithSource(lab);
    const { finish, begun } = pauseCopies(lab.loopback, GiB / 4n);
    const request = (name: string) => copyRequest({ name, parameters: { provisioning: 'thick' } });
    const copying = ['pvc-b', 'pvc-c', 'pvc-d'].map((name) => create(process, request(name)));
    const allocating = () => [...(process.pools.open()[0]?.allocating.keys() ?? [])];
    await begun;
    // two at once; the disk has given those their blocks
    await until(() => allocating().length === 1);
    expect(promised(process)).toBe(4n * GiB);
    finish();
    await Promise.all(copying);
    expect(allocating()).toEqual([]);
  });

  test('is no source itself until it is done', async () => {
    const process = await startWithSource(lab);
    const { finish, begun } = pauseCopies(lab.loopback, GiB / 4n);
    const copying = create(process, copyRequest());
    await begun;
    const second = copyRequest({ name: 'pvc-c', contentSource: ofVolume('pvc-b') });
    const error = await expectRefused(create(process, second), 'busy');
    expect(error.message).toContain('volume pvc-b is still being made');
    finish();
    await copying;
    expect(await create(process, second)).toMatchObject({ volumeId: 'pvc-c' });
  });

  test('of a source in use lets it be used', async () => {
    const process = await startWithSource(lab);
    await stage(lab, process);
    const { finish, begun } = pauseCopies(lab.loopback, GiB / 4n);
    const copying = create(process, copyRequest());
    await begun;
    await stage(lab, process);
    finish();
    await copying;
  });

  test('is given up when its volume is deleted, and nothing of it is left', async () => {
    const process = await startWithSource(lab);
    const { begun } = pauseCopies(lab.loopback, GiB / 4n);
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
    const process = await startWithSource(lab);
    pauseCopies(lab.loopback, GiB / 4n);
    const names = ['pvc-b', 'pvc-c', 'pvc-d'];
    for (const name of names)
      await expectRefused(create(process, copyRequest({ name }), 20), 'still-copying');
    expect(existsSync(imageOf(lab, 'pvc-d'))).toBe(false);
    for (const volumeId of names.toReversed()) await process.service.deleteVolume({ volumeId }, callFor());
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
  });

  test('into a pool that fills up leaves nothing, says so once, and is begun anew by the repeat after', async () => {
    const process = await startWithSource(lab);
    lab.loopback.isSharing = false;
    lab.loopback.duringCopy = () => Promise.reject(new StorageError('out-of-space', 'the pool is full'));
    await expectRefused(create(process, copyRequest()), 'out-of-space');
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    expect(promised(process)).toBe(GiB);
    lab.loopback.duringCopy = async () => {};
    await create(process, copyRequest());
  });

  test('whose failure nobody heard tells it to the next who asks', async () => {
    const process = await startWithSource(lab);
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
    const process = await startWithSource(lab, {}, { statFileSystem: diskOf(100n * GiB, 2n * GiB) });
    lab.loopback.isSharing = false;
    lab.loopback.writtenBytes = async () => 3n * GiB;
    const error = await expectRefused(create(process, copyRequest()), 'out-of-space');
    expect(error.message).toMatch(/free on disk 2 GiB/);
  });

  test('under another shape is refused while it runs', async () => {
    const process = await startWithSource(lab);
    const { finish, begun } = pauseCopies(lab.loopback, GiB / 4n);
    const copying = create(process, copyRequest());
    await begun;
    const capacityRange = { requiredBytes: 2n * GiB, limitBytes: 0n };
    await expectRefused(create(process, copyRequest({ capacityRange })), 'already-exists-different');
    finish();
    await copying;
  });

  test('that ends with the process is removed by the next start, and made anew', async () => {
    const process = await startWithSource(lab);
    const { begun } = pauseCopies(lab.loopback, GiB / 4n);
    await expectRefused(create(process, copyRequest(), 50), 'still-copying');
    await begun;
    expect(existsSync(`${imageOf(lab, 'pvc-b')}.half`)).toBe(true);
    const next = await lab.start();
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    lab.loopback.duringCopy = async () => {};
    await create(next, copyRequest());
    expect(await readFile(imageOf(lab, 'pvc-b'), 'utf8')).toBe('precious');
  });
});

describe('a process killed while it copies', () => {
  test.each(['reserved', 'intent', 'data'] as const)(
    'at %s leaves nothing after the next start but the source, free',
    async (step) => {
      const { reached, died } = dyingAt(step, 'pvc-b');
      void create(await startWithSource(lab, {}, { reached }), copyRequest());
      await died;
      const next = await lab.start();
      expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
      expect(promised(next)).toBe(GiB);
      await create(next, copyRequest());
      await next.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    },
  );
});
