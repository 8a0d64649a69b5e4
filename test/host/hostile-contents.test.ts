import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiskLab, MiB, volume } from '../support/disk-lab.ts';
import { failureOf } from '../support/failure-of.ts';
import { fillHostile } from '../support/hostile-tree.ts';
import { fingerprint } from '../support/scratch-directory.ts';
import { whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { callFor, until, type LabProcess } from '../support/volume-lab.ts';

const whyNot = whyNoScratchPool('xfs') || whyNoScratchPool('btrfs');
const secret = 'a secret of somebody else';
const call = () => callFor(60_000);

/** A disk, what lies beside its pool, and another volume on it; both are compared when the test ends. */
class Neighbourhood implements AsyncDisposable {
  readonly lab: DiskLab;
  readonly process: LabProcess;
  readonly outside: string;
  readonly #parameters: Record<string, string>;
  readonly #before: string;

  private constructor(lab: DiskLab, process: LabProcess, parameters: Record<string, string>) {
    this.lab = lab;
    this.process = process;
    this.outside = join(lab.disk.basePath, 'outside');
    this.#parameters = parameters;
    mkdirSync(join(this.outside, 'd0/d1'), { recursive: true });
    for (const name of ['file', 'd0/file', 'd0/d1/file']) writeFileSync(join(this.outside, name), secret);
    this.#before = fingerprint(this.outside);
  }

  static async make(kind: PoolKind, parameters: Record<string, string>): Promise<Neighbourhood> {
    const lab = await DiskLab.make(kind, 512);
    const near = new Neighbourhood(lab, await lab.start(), parameters);
    await near.create('pvc-near');
    await near.inside('pvc-near', (path) => writeFileSync(join(path, 'file'), secret));
    return near;
  }

  async create(name: string, source?: { kind: 'volume'; volumeId: string }): Promise<void> {
    const changes = {
      parameters: this.#parameters,
      ...(source === undefined ? {} : { contentSource: source }),
    };
    await this.process.service.createVolume(volume(name, 96n * MiB, changes), call());
    await this.process.service.acknowledge(name);
  }

  /** As a pod has it. */
  async inside(name: string, act: (path: string) => void): Promise<void> {
    await this.lab.stage(this.process, name);
    try {
      act(this.lab.stagingOf(name));
    } finally {
      await this.lab.unstage(this.process, name);
    }
  }

  async remove(name: string): Promise<void> {
    await this.process.service.deleteVolume({ volumeId: name }, call());
  }

  async expectUnharmed(): Promise<void> {
    expect(fingerprint(this.outside)).toBe(this.#before);
    await this.inside('pvc-near', (path) => expect(readFileSync(join(path, 'file'), 'utf8')).toBe(secret));
  }

  /** Nothing but the neighbour is left of anything. */
  async expectGone(): Promise<void> {
    await until(() => readdirSync(this.lab.at('trash')).length === 0, 20_000);
    expect(readdirSync(this.lab.at('volumes'))).toEqual(['pvc-near']);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // what a failed test has left may not be removable as it is
    spawnSync('chattr', ['-R', '-f', '-ia', this.lab.disk.path], { stdio: 'ignore', timeout: 20_000 });
    await this.lab[Symbol.asyncDispose]();
  }
}

const folders = { backend: 'directory', limit: 'advisory' };
const rows: readonly (readonly [title: string, kind: PoolKind, parameters: Record<string, string>])[] = [
  ['deleted as a directory on ext4', 'ext4', folders],
  ['deleted as a directory on xfs', 'xfs', folders],
  ['deleted as a subvolume', 'btrfs', { backend: 'btrfs', limit: 'advisory' }],
  ['deleted as an image', 'ext4', { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'ext4' }],
  ['scrubbed as a directory on ext4', 'ext4', { ...folders, onDelete: 'scrub' }],
  ['scrubbed as a directory on xfs', 'xfs', { ...folders, onDelete: 'scrub', scrub: 'random' }],
  [
    'scrubbed as a subvolume',
    'btrfs',
    { backend: 'btrfs', limit: 'advisory', onDelete: 'scrub', scrub: 'discard' },
  ],
  [
    'scrubbed as an image',
    'ext4',
    { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'ext4', onDelete: 'scrub' },
  ],
];

describe.skipIf(whyNot !== '')(`a volume full of traps${whyNot}`, () => {
  it.each(rows)(
    'can be cloned, captured and %s, and nothing outside is read or changed',
    async (_title, kind, parameters) => {
      await using near = await Neighbourhood.make(kind, parameters);
      const { service } = near.process;
      await near.create('pvc-trap');
      await near.inside('pvc-trap', (path) => fillHostile(path, near.outside, 'pvc-near/data'));
      await near.create('pvc-clone', { kind: 'volume', volumeId: 'pvc-trap' });
      const { snapshotId } = await service.createSnapshot(
        { name: 'one', sourceVolumeId: 'pvc-trap', parameters: {} },
        call(),
      );
      await near.inside('pvc-clone', (path) => {
        expect(execFileSync('readlink', [join(path, 'to-outside')], { encoding: 'utf8' }).trim()).toBe(
          near.outside,
        );
        expect(readFileSync(join(path, 'file'), 'utf8')).toBe('own bytes');
        expect(readdirSync(join(path, 'names'))).toHaveLength(14);
      });
      await near.remove('pvc-trap');
      await near.remove('pvc-clone');
      await service.deleteSnapshot(snapshotId, call());
      await near.expectGone();
      await near.expectUnharmed();
    },
    120_000,
  );

  it.each([
    ['a directory', 'ext4', folders],
    ['an image', 'ext4', { backend: 'loopback' }],
    ['a subvolume', 'btrfs', { backend: 'btrfs', limit: 'advisory' }],
  ] as const)(
    'is kept as it is when it is archived as %s',
    async (_title, kind, parameters) => {
      await using near = await Neighbourhood.make(kind, { ...parameters, onDelete: 'archive' });
      await near.create('pvc-trap');
      await near.inside('pvc-trap', (path) => fillHostile(path, near.outside, 'pvc-near/data'));
      await near.remove('pvc-trap');
      expect(readdirSync(near.lab.at('volumes'))).toEqual(['pvc-near']);
      const [archived = ''] = readdirSync(near.lab.at('archive'));
      expect(archived).toMatch(/^pvc-trap/);
      if (_title !== 'an image') {
        const data = near.lab.at('archive', archived, 'data');
        expect(readFileSync(join(data, 'file'), 'utf8')).toBe('own bytes');
        expect(existsSync(join(data, 'frozen/file'))).toBe(true);
      }
      await near.expectUnharmed();
    },
    120_000,
  );

  it.each([
    ['a directory', 'ext4', folders],
    ['a scrubbed directory', 'xfs', { ...folders, onDelete: 'scrub' }],
    ['an image', 'ext4', { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'ext4' }],
    ['a subvolume', 'btrfs', { backend: 'btrfs', limit: 'advisory' }],
  ] as const)(
    'is empty when it was recycled as %s, and the next tenant finds nothing',
    async (_title, kind, parameters) => {
      await using near = await Neighbourhood.make(kind, parameters);
      await near.create('pvc-trap');
      await near.inside('pvc-trap', (path) => fillHostile(path, near.outside, 'pvc-near/data'));
      await near.process.service.recycle({ volumeId: 'pvc-trap' }, call());
      await near.inside('pvc-trap', (path) => {
        expect(readdirSync(path).filter((name) => name !== 'lost+found')).toEqual([]);
        writeFileSync(join(path, 'file'), 'of the next tenant');
      });
      await near.remove('pvc-trap');
      await near.expectGone();
      await near.expectUnharmed();
    },
    120_000,
  );

  it('with something mounted inside is not removed over it, and goes once that is unmounted', async () => {
    await using near = await Neighbourhood.make('ext4', folders);
    await near.create('pvc-trap');
    const bound = near.lab.at('volumes/pvc-trap/data/inner/bound');
    mkdirSync(bound, { recursive: true });
    execFileSync('mount', ['--bind', near.outside, bound]);
    let isMounted = true;
    try {
      const refused = await failureOf(
        near.process.service.deleteVolume({ volumeId: 'pvc-trap' }, callFor(3000)),
      );
      expect(String(refused)).toMatch(/mount/);
      expect(fingerprint(near.outside)).not.toBe('');
      const [mountPoint = ''] = mountsOf(near.lab.disk.path).slice(-1);
      execFileSync('umount', [mountPoint]);
      isMounted = false;
    } finally {
      if (isMounted)
        for (const path of mountsOf(near.lab.disk.path)) execFileSync('umount', ['--lazy', path]);
    }
    await near.remove('pvc-trap');
    await near.expectGone();
    await near.expectUnharmed();
  }, 60_000);

  it.each([
    ['deleted', {}],
    ['scrubbed', { onDelete: 'scrub' }],
  ] as const)(
    'whose entries somebody swaps for links all the while is cloned and %s, or refused, and nothing outside changes',
    async (_what, changes) => {
      await using near = await Neighbourhood.make('ext4', { ...folders, ...changes });
      const counts = { clones: 0, refused: 0 };
      for (let round = 0; round < 4; round += 1) {
        const name = `pvc-trap-${round}`;
        await near.create(name);
        await near.inside(name, fillSwappable);
        // below the folder that the trash renames: whoever has it open goes on in it
        const swapper = await startSwapper(near.lab.at('volumes', name, 'data'), near.outside);
        try {
          await near.create(`${name}-clone`, { kind: 'volume', volumeId: name }).then(
            () => (counts.clones += 1),
            () => (counts.refused += 1),
          );
          await failureOf(near.remove(name)).catch(() => undefined);
        } finally {
          swapper.kill('SIGKILL');
          await once(swapper, 'exit');
        }
        expect(execGrep(near.lab.at('volumes', `${name}-clone`))).toBe('');
        await near.remove(name);
        await near.remove(`${name}-clone`);
        await near.expectUnharmed();
      }
      await near.expectGone();
      expect(counts.clones + counts.refused).toBe(4);
    },
    120_000,
  );
});

function fillSwappable(path: string): void {
  for (let index = 0; index < 20; index += 1) {
    const base = join(path, `s${index}`);
    mkdirSync(join(base, 'd0/d1'), { recursive: true });
    for (const name of ['file', 'd0/file', 'd0/d1/file']) writeFileSync(join(base, name), 'own'.repeat(2000));
  }
}

async function startSwapper(path: string, outside: string): Promise<ChildProcess> {
  const program = join(import.meta.dirname, 'programs/swap-entries.ts');
  // by its working directory it stays in the volume wherever that is renamed to
  const swapper = spawn(
    process.execPath,
    ['--experimental-strip-types', '--no-warnings', program, '.', outside],
    {
      cwd: path,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await once(swapper.stdout, 'data');
  return swapper;
}

function execGrep(path: string): string {
  if (!existsSync(path)) return '';
  try {
    return execFileSync('grep', ['-r', '-l', secret, path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return '';
  }
}

/** What is mounted below a path, but not on it. */
function mountsOf(path: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountPoint) => mountPoint.startsWith(`${path}/`));
}
