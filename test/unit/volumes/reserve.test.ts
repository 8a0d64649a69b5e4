import { statSync } from 'node:fs';
import { link, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import { ReserveFile, ReserveFolder, type HeldSpace } from '../../../src/host/reserve-file.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { silentLog } from '../../../src/model/log.ts';
import { Reserve, reserveFor } from '../../../src/volumes/space/reserve.ts';
import { statFileSystem } from '../../../src/host/statfs.ts';
import { GiB, VolumeLab } from '../../support/volume-lab.ts';

const MiB = 1n << 20n;
let path: string;
let folder: Directory;
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'loam-reserve-'));
  folder = await Directory.open(path);
});
afterEach(async () => {
  await folder.close();
  await rm(path, { recursive: true });
});

const full = (): Error => Object.assign(new Error('no space left'), { code: 'ENOSPC' });

function reserveOn(held: HeldSpace, availableBytes = 100n * GiB): Reserve {
  const { signal } = new AbortController();
  const statPool = async () => ({ ...(await statFileSystem(path)), totalBytes: 100n * GiB, availableBytes });
  return new Reserve({ held, statFileSystem: statPool, log: silentLog, signal });
}

describe('a reserve', () => {
  test.each([
    ['a file', () => new ReserveFile(folder, 'reserve')],
    ['a folder', () => new ReserveFolder(folder, 'reserve')],
  ] as const)('of %s is a hundredth of the disk, 16 MiB at most, and is found again', async (_, make) => {
    expect(reserveFor(100n * GiB)).toBe(16n * MiB);
    expect(reserveFor(100n * MiB)).toBe(MiB);
    const reserve = reserveOn(make());
    await reserve.fill();
    expect(reserve.heldBytes).toBe(16n * MiB);
    const next = reserveOn(make());
    await next.load();
    expect(next.heldBytes).toBe(16n * MiB);
  });

  test('is given up a piece at a time for what has to be done, and taken back after', async () => {
    const reserve = reserveOn(new ReserveFile(folder, 'reserve'));
    await reserve.fill();
    const seen: bigint[] = [];
    const result = await reserve.around(async () => {
      seen.push(BigInt(statSync(join(path, 'reserve')).size));
      if (seen.length === 1) throw full();
      // wherever it comes from
      if (seen.length === 2) throw new StorageError('host-failure', 'moving', { cause: full() });
      return 'done';
    });
    expect(result).toBe('done');
    expect(seen).toEqual([16n * MiB, 15n * MiB, 14n * MiB]);
    await reserve.settled();
    expect(reserve.heldBytes).toBe(16n * MiB);
  });

  test('that is used up has the failure told, and other failures are told at once', async () => {
    const reserve = reserveOn(new ReserveFile(folder, 'reserve'));
    await reserve.fill();
    await expect(reserve.around(async () => Promise.reject(full()))).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    expect(reserve.heldBytes).toBe(0n);
    expect(statSync(join(path, 'reserve')).size).toBe(0);
    await reserve.fill();
    const other = reserve.around(async () => Promise.reject(new Error('another')));
    await expect(other).rejects.toThrow('another');
    expect(reserve.heldBytes).toBe(16n * MiB);
  });

  test.each([
    ['with other rights', async () => writeFile(join(path, 'reserve'), 'precious', { mode: 0o644 })],
    [
      'of two names',
      async () => {
        await writeFile(join(path, 'reserve'), 'precious', { mode: 0o600 });
        await link(join(path, 'reserve'), join(path, 'other'));
      },
    ],
    [
      'behind a link',
      async () => {
        await writeFile(join(path, 'other'), 'precious', { mode: 0o600 });
        await symlink('other', join(path, 'reserve'));
      },
    ],
  ] as const)('never cuts a file %s that has its name', async (_, put) => {
    await put();
    const reserve = reserveOn(new ReserveFile(folder, 'reserve'));
    await reserve.load();
    await reserve.fill();
    expect(reserve.heldBytes).toBe(0n);
    await expect(reserve.around(async () => Promise.reject(full()))).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    expect(await readFile(join(path, 'reserve'), 'utf8')).toBe('precious');
  });

  test('of a folder leaves alone what others put there', async () => {
    await mkdir(join(path, 'reserve'));
    await writeFile(join(path, 'reserve', 'notes'), 'precious');
    await writeFile(join(path, 'reserve', '99999'), 'precious');
    const reserve = reserveOn(new ReserveFolder(folder, 'reserve'));
    await reserve.fill();
    await expect(reserve.around(async () => Promise.reject(full()))).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    expect((await readdir(join(path, 'reserve'))).toSorted()).toEqual(['99999', 'blocks', 'notes']);
  });

  test('whose growth failed at its end is put in order by the next filling, though nothing is missing', async () => {
    const file = new ReserveFile(folder, 'reserve');
    let growths = 0;
    const reserve = reserveOn({
      heldBytes: () => file.heldBytes(),
      shrinkTo: (bytes) => file.shrinkTo(bytes),
      growTo: async (bytes, signal) => {
        await file.growTo(bytes, signal);
        growths += 1;
        if (growths === 1) throw new Error('i/o error');
      },
    });
    await reserve.fill();
    expect(reserve.heldBytes).toBe(16n * MiB);
    await reserve.fill();
    await reserve.fill();
    expect(growths).toBe(2);
  });

  test('is not made where there is hardly any room', async () => {
    const reserve = reserveOn(new ReserveFile(folder, 'reserve'), 20n * MiB);
    await reserve.fill();
    expect(reserve.heldBytes).toBe(0n);
  });
});

test('a pool’s reserve counts as what it does not have', async () => {
  const lab = await VolumeLab.make('one');
  try {
    const process = await lab.start({ keepsReserve: true });
    const [room] = await process.service.rooms();
    const held = process.pools.open()[0]?.reserveBytes ?? 0n;
    expect(held).toBe(16n * MiB);
    expect(room?.sizeBytes).toBe(100n * GiB - held);
  } finally {
    await lab.clear();
  }
});
