import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { readMounts } from '../../src/host/mountinfo.ts';
import { exists, expectUnused, topMount, type MakeSubject } from './backend-subject.ts';

/** What holds for every volume, mounted or block. */
export function describeLife(
  subject: MakeSubject,
  backend: () => Backend,
  accessType: 'mount' | 'block',
): void {
  it('does every verb twice with the result of once, and is then used by nobody', async () => {
    const volume = subject();
    const twice = async (verb: () => Promise<void>): Promise<void> => {
      await verb();
      await verb();
    };
    await twice(() => volume.create());
    expect(await volume.users()).toEqual([]);
    await twice(() => volume.stage());
    const staged = (await volume.users()).length;
    expect(staged).toBe(1);
    await twice(() => volume.publish());
    expect((await volume.users()).join()).toContain(volume.targetPath);
    expect((await readMounts()).filter((mount) => mount.mountPoint === volume.targetPath)).toHaveLength(1);
    await twice(() => volume.unpublish());
    expect(exists(volume.targetPath)).toBe(false);
    expect(await volume.users()).toHaveLength(staged);
    await twice(() => volume.unstage());
    await expectUnused(volume.users);
  });

  it('unstages what was never staged, nor made', async () => {
    const volume = subject();
    await volume.unstage();
    await volume.unpublish();
    await backend().release(volume.place, volume.spec, volume.call.signal);
    expect(await volume.users()).toEqual([]);
  });

  it('says that a volume is not staged, and leaves no target', async () => {
    const volume = subject();
    await volume.create();
    await expect(volume.publish()).rejects.toMatchObject({ reason: 'not-staged' });
    expect(exists(volume.targetPath)).toBe(false);
  });

  it('does not mount over what is at the target, nor in a pool', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    mkdirSync(join(volume.targetPath, '..'), { recursive: true });
    symlinkSync('/', volume.targetPath);
    await expect(volume.publish()).rejects.toMatchObject({ reason: 'bad-target' });
    rmSync(volume.targetPath);
    writeFileSync(volume.targetPath, 'somebody’s');
    await expect(volume.publish()).rejects.toMatchObject({ reason: 'bad-target' });
    expect(readFileSync(volume.targetPath, 'utf8')).toBe('somebody’s');
    rmSync(volume.targetPath);
    mkdirSync(volume.targetPath);
    writeFileSync(join(volume.targetPath, 'file'), 'somebody’s');
    await expect(volume.publish()).rejects.toMatchObject({ reason: 'bad-target' });
    expect(readdirSync(volume.targetPath)).toEqual(['file']);
    const inside = join(volume.place.path, 'target');
    await expect(volume.publish({ path: inside })).rejects.toMatchObject({ reason: 'bad-target' });
    await expect(volume.publish({ path: `${volume.targetPath}/../x` })).rejects.toMatchObject({
      reason: 'invalid-argument',
    });
    expect(exists(inside)).toBe(false);
    await volume.unstage();
  });

  it('refuses a target that is published with other access', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    await volume.publish();
    await expect(volume.publish({ readonly: true })).rejects.toMatchObject({
      reason: 'published-differently',
    });
    expect((await topMount(volume.targetPath))?.options).toContain('rw');
    await volume.unpublish();
    await volume.unstage();
  });

  it('refuses a target where another volume is published', async () => {
    const [volume, other] = [subject(), subject()];
    for (const each of [volume, other]) {
      await each.create();
      await each.stage();
    }
    await other.publish();
    await expect(volume.publish({ path: other.targetPath })).rejects.toMatchObject({
      reason: 'published-differently',
    });
    await other.unpublish();
    for (const each of [volume, other]) await each.unstage();
  });

  it('publishes at two targets, and takes all mounts stacked at one away', async () => {
    const volume = subject();
    const secondPath = `${volume.targetPath}-2`;
    await volume.create();
    await volume.stage();
    await volume.publish();
    await volume.publish({ path: secondPath });
    execFileSync('mount', ['--bind', volume.targetPath, volume.targetPath]);
    await volume.unpublish();
    expect(exists(volume.targetPath)).toBe(false);
    expect((await volume.users()).join()).toContain(secondPath);
    await volume.unpublish(secondPath);
    await volume.unstage();
    await expectUnused(volume.users);
  });

  it('tells its condition, also of a volume whose data is gone, which it does not make anew', async () => {
    const volume = subject();
    await volume.create();
    expect(await backend().condition(volume.place, volume.spec)).toMatchObject({ abnormal: false });
    renameSync(volume.dataPath, `${volume.dataPath}.away`);
    const condition = await backend().condition(volume.place, volume.spec);
    expect(condition.abnormal).toBe(true);
    expect(condition.message).toContain(volume.dataPath);
    await expect(volume.stage()).rejects.toMatchObject({ reason: 'data-loss' });
    expect(exists(volume.dataPath)).toBe(false);
    expect(await topMount(volume.stagingPath)).toBeUndefined();
  });

  it('measures a published volume, and says where none is published', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    const measure = (): ReturnType<Backend['usage']> =>
      backend().usage(volume.place, volume.spec, volume.targetPath);
    await expect(measure()).rejects.toMatchObject({ reason: 'path-not-found' });
    await volume.publish();
    const [bytes] = await measure();
    expect(bytes?.unit).toBe('BYTES');
    if (accessType === 'block') expect(bytes?.total).toBe(volume.spec.sizeBytes);
    else expect((bytes?.available ?? 0n) + (bytes?.used ?? 0n)).toBeLessThanOrEqual(bytes?.total ?? 0n);
    if (volume.spec.limit === 'enforced') expect(bytes?.total).toBeLessThanOrEqual(volume.spec.sizeBytes);
    await volume.unpublish();
    await volume.unstage();
  });

  it('probes a pool, finds what it can do and leaves nothing', async () => {
    const volume = subject();
    const found = await backend().probe(volume.place, volume.call.signal);
    expect(found).toMatchObject({ usable: true, enforcesLimit: volume.spec.limit === 'enforced' });
    expect(readdirSync(volume.place.path)).toEqual([]);
    await expectUnused(volume.users);
  });
}
