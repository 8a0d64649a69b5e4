import { spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ensureUnmounted } from '../../src/host/mounts.ts';
import { expectUnused, topMount, type MakeSubject } from './backend-subject.ts';

/** What holds for volumes that are mounted. */
export function describeMount(subject: MakeSubject): void {
  it('stops a pod at the size where the limit is enforced', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    const fill = (): void => {
      const file = openSync(join(volume.stagingPath, 'fill'), 'w');
      try {
        const chunk = Buffer.alloc(1 << 20, 1);
        for (let written = 0n; written <= volume.spec.sizeBytes; written += BigInt(chunk.length))
          writeSync(file, chunk);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    };
    // a quota says EDQUOT, for which libuv has no name
    const refusal = volume.spec.backend === 'loopback' ? /ENOSPC/ : /UNKNOWN/;
    if (volume.spec.limit === 'enforced') expect(fill).toThrow(refusal);
    else expect(fill).not.toThrow();
    await volume.unstage();
  });

  it('keeps what was written over unstage and stage', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    await volume.publish();
    writeFileSync(join(volume.targetPath, 'file'), 'kept');
    await volume.unpublish();
    await volume.unstage();
    await volume.create();
    await volume.stage();
    expect(readFileSync(join(volume.stagingPath, 'file'), 'utf8')).toBe('kept');
    await volume.unstage();
  });

  it('gives the root 0770 of root, or what the class says, and never touches it again', async () => {
    const plain = subject();
    const special = subject({ mode: 0o2775, uid: 1234, gid: 70000 });
    for (const volume of [plain, special]) {
      await volume.create();
      await volume.stage();
    }
    const ownership = (path: string): string => {
      const { mode, uid, gid } = statSync(path);
      return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
    };
    expect(ownership(plain.stagingPath)).toBe('770 0:0');
    expect(ownership(special.stagingPath)).toBe('2775 1234:70000');
    chmodSync(special.stagingPath, 0o700);
    await special.stage();
    await special.unstage();
    await special.create();
    await special.stage();
    expect(ownership(special.stagingPath)).toBe('700 1234:70000');
    for (const volume of [plain, special]) await volume.unstage();
  });

  it('sets the sticky bit too', async () => {
    const volume = subject({ mode: 0o1777 });
    await volume.create();
    await volume.stage();
    expect(statSync(volume.stagingPath).mode & 0o7777).toBe(0o1777);
    await volume.unstage();
  });

  it('refuses writes to a read-only publication while another one writes', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    await volume.publish({ readonly: true });
    await volume.publish({ readonly: true });
    expect(() => writeFileSync(join(volume.targetPath, 'file'), '')).toThrow(/EROFS/);
    writeFileSync(join(volume.stagingPath, 'file'), 'seen');
    expect(readFileSync(join(volume.targetPath, 'file'), 'utf8')).toBe('seen');
    await volume.unpublish();
    await volume.unstage();
  });

  it('stages read-only, and a publication of that is read-only', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage({ readonly: true });
    await volume.stage({ readonly: true });
    await expect(volume.stage()).rejects.toMatchObject({ reason: 'published-differently' });
    await volume.publish();
    await volume.publish();
    expect(() => writeFileSync(join(volume.targetPath, 'file'), '')).toThrow(/EROFS/);
    await volume.unpublish();
    await volume.unstage();
  });

  it('mounts nodev and with the flags asked for, and sees when a mount has other ones', async () => {
    const volume = subject();
    await volume.create();
    const mountFlags = ['noatime', 'nosuid', 'noexec'];
    await volume.stage({ mountFlags });
    await volume.publish({ mountFlags });
    await volume.publish({ mountFlags });
    for (const path of [volume.stagingPath, volume.targetPath]) {
      expect((await topMount(path))?.options).toEqual(expect.arrayContaining(['rw', 'nodev', ...mountFlags]));
    }
    await expect(volume.publish({ mountFlags: ['nodiratime'] })).rejects.toMatchObject({
      reason: 'published-differently',
    });
    await volume.unpublish();
    await volume.unstage();
  });

  it.each([
    'bind',
    'remount',
    'loop',
    'dev',
    'x-systemd.automount',
    'noatime,dev',
    'subvol=/',
    'nonsense',
    '',
  ])('refuses the mount flag %j and mounts nothing', async (flag) => {
    const volume = subject();
    await volume.create();
    await expect(volume.stage({ mountFlags: [flag] })).rejects.toMatchObject({ reason: 'invalid-argument' });
    expect(await volume.users()).toEqual([]);
  });

  it('says who is in the way instead of unmounting below an open file', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    const holder = join(volume.stagingPath, 'held');
    writeFileSync(holder, '');
    const descriptor = openSync(holder, 'r');
    try {
      await expect(volume.unstage()).rejects.toMatchObject({ reason: 'in-use' });
      expect(await topMount(volume.stagingPath)).toBeDefined();
    } finally {
      closeSync(descriptor);
    }
    await volume.unstage();
    await expectUnused(volume.users);
  });

  it('finds a mount that only another mount namespace still has', async () => {
    const volume = subject();
    await volume.create();
    await volume.stage();
    const child = spawn(
      'unshare',
      ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; read line'],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    );
    const ended = new Promise((resolve) => child.once('exit', resolve));
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve));
      await ensureUnmounted(volume.stagingPath, volume.call.signal);
      expect((await volume.users()).join()).toMatch(/mount namespace of process \d+/);
    } finally {
      child.stdin.end('\n');
      await ended;
    }
    await volume.unstage();
    await expectUnused(volume.users);
  });

  it('finishes a half-made attempt', async () => {
    const volume = subject();
    const halfPath = `${volume.dataPath}.new`;
    if (volume.spec.backend === 'directory') mkdirSync(halfPath);
    else writeFileSync(halfPath, 'half');
    await volume.create();
    expect(readdirSync(volume.place.path)).toHaveLength(1);
    await volume.stage();
    await volume.unstage();
  });
}
