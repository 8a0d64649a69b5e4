import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { imageFlags } from '../support/loam-process.ts';
import { sourcesBelow } from '../support/source-files.ts';

const project = join(import.meta.dirname, '../..');
const dockerfile = readFileSync(join(project, 'Dockerfile'), 'utf8');

/** Debian's packages of the programs that src/host runs; `''` = in every Debian image. */
const packages: Readonly<Record<string, string>> = {
  chattr: 'e2fsprogs',
  lsattr: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  filefrag: 'e2fsprogs',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.btrfs': 'btrfs-progs',
  'mkfs.xfs': 'xfsprogs',
  xfs_io: 'xfsprogs',
  xfs_quota: 'xfsprogs',
  losetup: 'mount',
  mount: 'mount',
  umount: 'mount',
  fallocate: 'util-linux',
  flock: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  btrfs: 'btrfs-progs',
  btrfstune: 'btrfs-progs',
  dd: '',
  e2fsck: 'e2fsprogs',
  fsfreeze: 'util-linux',
  resize2fs: 'e2fsprogs',
  tune2fs: 'e2fsprogs',
  xfs_db: 'xfsprogs',
  mknod: '',
  cp: '',
  sync: '',
  getfattr: 'attr',
  setfattr: 'attr',
};

describe('the Dockerfile', () => {
  const programs = new Set(
    sourcesBelow('src').flatMap(({ text }) =>
      [...text.matchAll(/\brun\(\s*'([^']+)'/g)].map(([, program = '']) => program),
    ),
  );

  it('installs the package of every program that the sources run, and no other', () => {
    expect([...programs].toSorted()).toEqual(Object.keys(packages).toSorted());
    const installed = /apt-get install [^;]*?recommends ([^;]+);/.exec(dockerfile)?.[1]?.split(' ') ?? [];
    const wanted = new Set([...programs].map((program) => packages[program] ?? ''));
    wanted.delete('');
    expect(installed.toSorted()).toEqual([...wanted].toSorted());
  });

  it('looks for each of them before it leaves a base as it is', () => {
    const looked = /for tool in ([^;]+);/.exec(dockerfile)?.[1]?.split(' ') ?? [];
    expect(looked.toSorted()).toEqual([...programs].toSorted());
  });

  it('takes the Node that the tests run on, with the flags that memory is measured with', () => {
    const { devDependencies } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as {
      readonly devDependencies: Readonly<Record<string, string>>;
    };
    expect(/^ARG NODE_VERSION=(.+)$/m.exec(dockerfile)?.[1]).toBe(devDependencies['node']);
    const entry = JSON.parse(/^ENTRYPOINT (.+)$/m.exec(dockerfile)?.[1] ?? '[]') as readonly string[];
    expect(entry).toEqual(['node', ...imageFlags, '/usr/lib/loam/loam.mjs']);
  });

  it('copies nothing from the context that .dockerignore keeps out', () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) =>
      names.split(' '),
    );
    const ignored = readFileSync(join(project, '.dockerignore'), 'utf8').split('\n');
    expect(copied).toContain('dist');
    for (const name of copied) expect(ignored).toContain(`!${name}`);
  });
});
