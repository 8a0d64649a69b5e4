import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ImageLab, live, MiB, quiet, strict, whyNoImageLab } from '../support/image-lab.ts';

describe.skipIf(whyNoImageLab !== '')(`copies of loopback volumes${whyNoImageLab}`, () => {
  let lab: ImageLab;
  afterEach(() => lab.clear());

  describe('on a pool that cannot share blocks', () => {
    it('are full and sparse copies, and tell how far they are', async () => {
      lab = ImageLab.make('ext4', 1024);
      const volume = await lab.start('ext4');
      writeFileSync(join(volume.stagingPath, 'file'), Buffer.alloc(20 << 20, 'x'));
      await lab.end(volume);
      expect(await lab.backend.sharesBlocks(quiet(volume))).toBe(false);
      const told: bigint[] = [];
      const clone = lab.like(volume, { sizeBytes: 400n * MiB });
      const wish = { ...strict, onProgress: (bytes: bigint) => void told.push(bytes) };
      const { consistency } = await lab.backend.createFrom(
        quiet(volume),
        clone.place,
        clone.spec,
        wish,
        clone.call,
      );
      expect(consistency).toBe('quiet');
      expect(told.length).toBeGreaterThan(10);
      expect(told).toEqual(told.toSorted((left, right) => (left < right ? -1 : 1)));
      const written = (await lab.backend.writtenBytes(clone.place)) ?? 0n;
      expect(written).toBeLessThan(40n * MiB);
      await volume.stage();
      await clone.stage();
      expect(readFileSync(join(clone.stagingPath, 'file')).equals(Buffer.alloc(20 << 20, 'x'))).toBe(true);
      await lab.end(clone, volume);
    });

    it.each(['ext4', 'block'] as const)(
      'are refused of %s that is in use, whatever is accepted',
      async (kind) => {
        lab = ImageLab.make('ext4', 1024);
        const volume = await lab.start(kind, { sizeBytes: 32n * MiB });
        for (const provisioning of ['thin', 'thick'] as const) {
          const clone = lab.like(volume, { provisioning });
          const wish = { allowsLoose: true };
          await expect(
            lab.backend.createFrom(live(volume), clone.place, clone.spec, wish, clone.call),
          ).rejects.toMatchObject({
            reason: 'not-consistent',
            message: expect.stringMatching(/stop its pods first, .*pool on xfs or btrfs/) as string,
          });
          expect(readdirSync(clone.place.path)).toEqual([]);
        }
        await lab.end(volume);
      },
    );

    it('leave nothing where the pool is full in the middle, or they are given up', async () => {
      lab = ImageLab.make('ext4', 256);
      const volume = lab.plan('block', { sizeBytes: 160n * MiB });
      await volume.create();
      writeFileSync(volume.dataPath, Buffer.alloc(150 << 20, 'x'), { flag: 'r+' });
      const clone = lab.like(volume);
      await expect(
        lab.backend.createFrom(quiet(volume), clone.place, clone.spec, strict, clone.call),
      ).rejects.toMatchObject({ reason: 'out-of-space' });
      expect(readdirSync(clone.place.path)).toEqual([]);
      const stopping = new AbortController();
      const wish = { ...strict, onProgress: () => stopping.abort() };
      const snapshot = lab.like(volume);
      await expect(
        lab.backend.capture(quiet(volume), snapshot.place, wish, { signal: stopping.signal }),
      ).rejects.toMatchObject({ reason: 'cancelled' });
      expect(readdirSync(snapshot.place.path)).toEqual([]);
      expect(statfsSync(lab.pool.path).bavail * statfsSync(lab.pool.path).bsize).toBeGreaterThan(60 << 20);
    });

    it('hold the source as it was where that grows meanwhile, and are refused where it is written to', async () => {
      lab = ImageLab.make('ext4', 1024);
      const volume = lab.plan('block', { sizeBytes: 64n * MiB });
      await volume.create();
      writeFileSync(volume.dataPath, Buffer.alloc(20 << 20, 'x'), { flag: 'r+' });
      const copyWhile = async (act: () => void) => {
        let hasActed = false;
        const onProgress = () => {
          if (!hasActed) act();
          hasActed = true;
        };
        const snapshot = lab.like(volume);
        const wish = { ...strict, onProgress };
        await lab.backend.capture(quiet(volume), snapshot.place, wish, snapshot.call);
        return snapshot;
      };
      const grown = await copyWhile(() => execFileSync('truncate', ['-s', '128M', volume.dataPath]));
      expect(statSync(grown.dataPath, { bigint: true }).size).toBe(64n * MiB);
      expect(() => execFileSync('cmp', ['-n', `${64 << 20}`, grown.dataPath, volume.dataPath])).not.toThrow();
      const written = copyWhile(() => writeFileSync(volume.dataPath, 'new', { flag: 'r+' }));
      await expect(written).rejects.toMatchObject({ reason: 'not-consistent' });
    });
  });
});
