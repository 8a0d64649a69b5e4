import { execFileSync } from 'node:child_process';
import {
  closeSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { expect, it } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import type { ScratchPool } from '../support/scratch-pool.ts';
import { expectUnused, type MakeSubject } from './backend-subject.ts';

/** What holds for volumes that are image files. */
export function describeImage(subject: MakeSubject, backend: () => Backend, pool: () => ScratchPool): void {
  it('makes an image of exactly the size, readable by root only, taking what it said it takes', async () => {
    const volume = subject();
    await volume.create();
    const { size, blocks, mode } = statSync(volume.dataPath, { bigint: true });
    expect(size).toBe(volume.spec.sizeBytes);
    expect(mode & 0o777n).toBe(0o600n);
    const initial = backend().initialBytes(volume.spec);
    if (volume.spec.provisioning === 'thick') {
      expect(initial).toBe(size);
      expect(blocks * 512n).toBeGreaterThanOrEqual(size);
    } else {
      expect(blocks * 512n).toBeLessThanOrEqual(initial);
      expect(initial).toBeLessThan(size / 2n);
    }
  });

  it('refuses sizes that are no multiple of 4096', async () => {
    const volume = subject({ sizeBytes: subject().spec.sizeBytes + 1n });
    await expect(volume.create()).rejects.toMatchObject({ reason: 'invalid-argument' });
    expect(readdirSync(volume.place.path)).toEqual([]);
  });

  it('says out of space for a thick image beyond the pool and leaves nothing', async () => {
    const volume = subject({ provisioning: 'thick', sizeBytes: 1n << 42n });
    await expect(volume.create()).rejects.toMatchObject({ reason: 'out-of-space' });
    expect(readdirSync(volume.place.path)).toEqual([]);
  });

  it('finds its device again after a rename, as in the trash, and lets go of it', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    if (volume.spec.accessType === 'mount') execFileSync('umount', [volume.stagingPath]);
    const trashed = { path: pool().at(`${volume.spec.id}.17`) };
    renameSync(volume.place.path, trashed.path);
    await backend().release(trashed, volume.spec, volume.call.signal);
    await expectUnused(() => backend().users(trashed, volume.spec));
    expect(execFileSync('losetup', ['--list'], { encoding: 'utf8' })).not.toContain(trashed.path);
  });

  it('does not format what is on an image, whatever it is', async () => {
    const volume = subject();
    await volume.create();
    const strange = Buffer.alloc(70_000, 'somebody’s data ');
    const file = openSync(volume.dataPath, 'r+');
    writeSync(file, strange, 0, strange.length, 0);
    closeSync(file);
    if (volume.spec.accessType === 'mount') {
      await expect(volume.stage()).rejects.toMatchObject({ reason: 'data-loss' });
      await expect(volume.create()).rejects.toMatchObject({ reason: 'data-loss' });
      expect(await backend().condition(volume.place, volume.spec)).toMatchObject({ abnormal: true });
    } else {
      await volume.create();
    }
    expect(readFileSync(volume.dataPath).subarray(0, strange.length).equals(strange)).toBe(true);
  });

  it('refuses an image that is shorter than its volume', async () => {
    const volume = subject();
    await volume.create();
    truncateSync(volume.dataPath, 4096);
    await expect(volume.stage()).rejects.toMatchObject({ reason: 'data-loss' });
    expect(await volume.users()).toEqual([]);
  });

  it('uses the device that a crash left attached instead of a second one', async () => {
    const volume = subject();
    await volume.create();
    const left = execFileSync('losetup', ['--find', '--show', volume.dataPath], { encoding: 'utf8' }).trim();
    await volume.stage();
    const devices = execFileSync(
      'losetup',
      ['--noheadings', '--output', 'NAME', '--associated', volume.dataPath],
      {
        encoding: 'utf8',
      },
    );
    expect(devices.trim()).toBe(left);
    await volume.unstage();
    await expectUnused(volume.users);
  });
}
