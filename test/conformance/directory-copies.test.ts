import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Backend, CopySource, CopyWish } from '../../src/backends/backend.ts';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import type { VolumeSpec } from '../../src/model/volume.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { ScratchPool, whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { treeListing } from '../support/tree-listing.ts';

const call = { signal: AbortSignal.timeout(120_000) };
const strict: CopyWish = { allowsLoose: false };
const loose: CopyWish = { allowsLoose: true };
const pools: readonly PoolKind[] = ['plain', 'ext4', 'xfs', 'btrfs'];

for (const kind of pools) {
  const whyNot = whyNoScratchPool(kind);
  describe.skipIf(whyNot !== '')(
    `copies of directory volumes on ${kind === 'plain' ? 'the temporary directory' : kind}${whyNot}`,
    () => {
      it('captures a volume nobody uses, and makes another of that, each on its own', async () => {
        await using lab = await CopyLab.make(kind);
        const before = treeListing(lab.data('volumes/one'));
        const snapshot = lab.place('snapshots/s');
        expect(await lab.backend.capture(lab.source('volumes/one'), snapshot, strict, call)).toEqual({
          consistency: 'quiet',
        });
        writeFileSync(join(lab.data('volumes/one'), 'file'), 'changed since');
        const source = lab.source('snapshots/s');
        const copy = lab.place('volumes/two');
        await lab.backend.createFrom(source, copy, lab.spec('two'), strict, call);
        expect(treeListing(lab.data('snapshots/s'))).toBe(before);
        expect(treeListing(lab.data('volumes/two'))).toBe(before);
        expect(readdirSync(copy.path)).toEqual(['data']);
      });

      it('never says that copies take no time: each file is copied by itself, shared blocks or not', async () => {
        await using lab = await CopyLab.make(kind);
        const backend: Backend = lab.backend;
        expect(await backend.sharesBlocks?.(lab.source('volumes/one'))).toBeUndefined();
      });
    },
  );
}

const whyNot = whyNoScratchPool();
describe.skipIf(whyNot !== '')(`copies of directory volumes${whyNot}`, () => {
  it('refuses a volume that is in use, and says what helps', async () => {
    await using lab = await CopyLab.make('plain');
    const target = lab.place('snapshots/s');
    await expect(
      lab.backend.capture({ ...lab.source('volumes/one'), isLive: true }, target, strict, call),
    ).rejects.toMatchObject({
      reason: 'not-consistent',
      message: expect.stringMatching(/stop its pods.*loopback or btrfs.*consistency: accept/) as string,
    });
    expect(readdirSync(target.path)).toEqual([]);
  });

  it('copies a volume in use where that is accepted, and says that it is loose', async () => {
    await using lab = await CopyLab.make('plain');
    const source = { ...lab.source('volumes/one'), isLive: true };
    const told: bigint[] = [];
    const wish = { ...loose, onProgress: (bytes: bigint) => told.push(bytes) };
    expect(await lab.backend.capture(source, lab.place('snapshots/s'), wish, call)).toEqual({
      consistency: 'loose',
    });
    expect(told.at(-1)).toBeGreaterThan(0n);
  });

  it('begins anew after a crash in the middle, and leaves a finished copy as it is', async () => {
    await using lab = await CopyLab.make('plain');
    const target = lab.place('volumes/two');
    const half = join(target.path, 'data.new');
    mkdirSync(join(half, 'data/half'), { recursive: true });
    mkdirSync(join(half, 'workbench'));
    writeFileSync(join(half, 'workbench/17'), 'half');
    const source = lab.source('volumes/one');
    await lab.backend.createFrom(source, target, lab.spec('two'), strict, call);
    expect(treeListing(lab.data('volumes/two'))).toBe(treeListing(lab.data('volumes/one')));
    writeFileSync(join(lab.data('volumes/two'), 'file'), 'used already');
    expect(await lab.backend.createFrom(source, target, lab.spec('two'), strict, call)).toEqual({
      consistency: 'loose',
    });
    expect(readFileSync(join(lab.data('volumes/two'), 'file'), 'utf8')).toBe('used already');
  });

  it('leaves nothing under the name of the data when it is stopped or runs out of space', async () => {
    await using lab = await CopyLab.make('ext4', 32);
    writeFileSync(join(lab.data('volumes/one'), 'large'), Buffer.alloc(18 << 20, 'a'));
    const target = lab.place('volumes/two');
    const copy = (signal: AbortSignal) =>
      lab.backend.createFrom(lab.source('volumes/one'), target, lab.spec('two'), strict, { signal });
    await expect(copy(call.signal)).rejects.toMatchObject({ reason: 'out-of-space' });
    expect(readdirSync(target.path)).toEqual(['data.new']);
    await expect(copy(AbortSignal.abort(new Error('stopped')))).rejects.toThrow('stopped');
    expect(readdirSync(target.path)).toEqual(['data.new']);
    execFileSync('rm', [join(lab.data('volumes/one'), 'large')]);
    await copy(call.signal);
    expect(readdirSync(target.path)).toEqual(['data']);
  });

  it('tells data loss where the source is gone, and refuses a block volume', async () => {
    await using lab = await CopyLab.make('plain');
    const source = lab.source('volumes/one');
    const target = lab.place('volumes/two');
    const block = { ...lab.spec('two'), accessType: 'block' } as const;
    await expect(lab.backend.createFrom(source, target, block, strict, call)).rejects.toMatchObject({
      reason: 'unsupported-capability',
    });
    execFileSync('rm', ['-r', lab.data('volumes/one')]);
    await expect(lab.backend.createFrom(source, target, lab.spec('two'), strict, call)).rejects.toMatchObject(
      { reason: 'data-loss' },
    );
  });

  it('grows without touching the disk, and refuses a limit that nothing holds', async () => {
    await using lab = await CopyLab.make('ext4');
    const { place, spec } = lab.source('volumes/one');
    const larger = { ...spec, sizeBytes: spec.sizeBytes * 2n };
    expect(await lab.backend.grow(place, larger, call)).toEqual({ isMountBehind: false });
    const enforced = { ...spec, limit: 'enforced' } as const;
    const refused = { reason: 'limit-not-enforced' };
    await expect(lab.backend.create(lab.place('volumes/two'), enforced, call)).rejects.toMatchObject(refused);
    await expect(lab.backend.reshape(place, spec, enforced, call)).rejects.toMatchObject(refused);
    await lab.backend.reshape(place, enforced, spec, call);
    await lab.backend.discard(place, call.signal);
    expect(await lab.backend.writtenBytes(place, spec)).toBeUndefined();
  });
});

/** A pool with one volume that has a few files. */
class CopyLab implements AsyncDisposable {
  readonly backend = new DirectoryBackend();
  readonly #pool: ScratchPool;

  private constructor(pool: ScratchPool) {
    this.#pool = pool;
  }

  static async make(kind: PoolKind, sizeMiB?: number): Promise<CopyLab> {
    const lab = new CopyLab(ScratchPool.make(kind, sizeMiB));
    await lab.backend.create(lab.place('volumes/one'), lab.spec('one'), call);
    const data = lab.data('volumes/one');
    mkdirSync(join(data, 'folder'));
    for (const name of ['file', 'folder/file']) writeFileSync(join(data, name), `text of ${name}`);
    execFileSync('chown', ['-R', '1000:2000', data]);
    return lab;
  }

  place(name: string): { readonly path: string } {
    const path = this.#pool.at(name);
    mkdirSync(path, { recursive: true });
    return { path };
  }

  data(name: string): string {
    return this.#pool.at(name, 'data');
  }

  spec(name: string): VolumeSpec {
    return {
      id: volumeIdOf(name),
      backend: 'directory',
      accessType: 'mount',
      sizeBytes: 64n << 20n,
      provisioning: 'thin',
      limit: 'advisory',
    };
  }

  source(name: string): CopySource {
    return { place: this.place(name), spec: this.spec('one'), isLive: false };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.remove();
  }
}
