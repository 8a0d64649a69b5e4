import { describe, expect, it } from 'vitest';
import { ReserveFile } from '../../src/host/reserve-file.ts';
import { statFileSystem } from '../../src/host/statfs.ts';
import { reserveFor } from '../../src/volumes/space/reserve.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const kinds = ['ext4', 'xfs'] as const;
const { signal } = new AbortController();

describe.each(kinds)('a reserve on %s', (kind) => {
  const why = whyNoScratchPool(kind);

  it.skipIf(why !== '')(
    `that was given up in part and taken back keeps no more of the disk than it says${why}`,
    async () => {
      await using pool = ScratchPool.make(kind, 1024);
      const reserve = new ReserveFile(await pool.directory(), 'reserve');
      const freeBytes = async (): Promise<bigint> => (await statFileSystem(pool.path)).availableBytes;
      const bytes = reserveFor((await statFileSystem(pool.path)).totalBytes);
      await reserve.growTo(bytes, signal);
      const before = await freeBytes();
      for (let turn = 0; turn < 3; turn += 1) {
        await reserve.shrinkTo(bytes - bytes / 16n);
        await reserve.growTo(bytes, signal);
        expect(await reserve.heldBytes()).toBe(bytes);
        expect(before - (await freeBytes())).toBeLessThan(65_536n);
      }
    },
  );
});
