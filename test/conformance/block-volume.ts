import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { expectUnused, type MakeSubject } from './backend-subject.ts';

/** What holds for volumes that are given out as a device. */
export function describeBlock(subject: MakeSubject): void {
  it('gives out a device of exactly the size, whose bytes stay over unstage and stage', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    await volume.publish();
    expect(statSync(volume.targetPath).isBlockDevice()).toBe(true);
    const size = execFileSync('blockdev', ['--getsize64', volume.targetPath], { encoding: 'utf8' });
    expect(BigInt(size.trim())).toBe(volume.spec.sizeBytes);
    writeFileSync(volume.targetPath, 'block data', { flag: 'r+', flush: true });
    await volume.unpublish();
    await volume.unstage();
    await expectUnused(volume.users);
    expect(readFileSync(volume.dataPath).subarray(0, 10).toString()).toBe('block data');
    await volume.stage();
    await volume.publish();
    const head = execFileSync('head', ['-c', '10', volume.targetPath], { encoding: 'utf8' });
    expect(head).toBe('block data');
    await volume.unpublish();
    await volume.unstage();
  });

  it('refuses writes to a read-only device while another publication writes', async () => {
    const volume = subject();
    const writablePath = `${volume.targetPath}-rw`;
    await volume.create();
    await volume.stage();
    await volume.publish({ readonly: true });
    await volume.publish({ readonly: true });
    await volume.publish({ path: writablePath });
    expect(() => writeFileSync(volume.targetPath, 'x', { flag: 'r+' })).toThrow(/EROFS|EPERM|EACCES/);
    writeFileSync(writablePath, 'x', { flag: 'r+', flush: true });
    await volume.unpublish();
    await volume.unpublish(writablePath);
    await volume.unstage();
    await expectUnused(volume.users);
  });

  it('does not take the device away below a publication', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    await volume.publish();
    await expect(volume.unstage()).rejects.toMatchObject({ reason: 'in-use' });
    await volume.unpublish();
    await volume.unstage();
    await expectUnused(volume.users);
  });
}
