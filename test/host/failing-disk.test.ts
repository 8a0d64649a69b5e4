import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unlimitedPace } from '../../src/host/pace.ts';
import { inventoryOf } from '../../src/volumes/inventory/take-inventory.ts';
import { adopt, containing, DiscoveredDisk, remove } from '../support/discovering.ts';
import { failureOf } from '../support/failure-of.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const program = '/usr/sbin/xfs_io';
const why = whyNoScratchPool('xfs') || (existsSync(program) ? '' : ` (skipped: there is no ${program})`);

/** A disk that fails once `fail` was called and something is removed from it. */
async function brittleDisk(fsType: 'ext4' | 'xfs'): Promise<{ found: DiscoveredDisk; fail: () => void }> {
  let next = (): void => {};
  const pace = { ...unlimitedPace, files: async () => next() };
  const found = await DiscoveredDisk.make({ fsType, text: 'old', pace });
  const fail = (): void => {
    // from then on all that is done on it is an input/output error
    next = () => void execFileSync(program, ['-x', '-c', 'shutdown', found.path]);
  };
  return { found, fail };
}

/** Deletes its volume, which fails half-way. */
async function halfRemoved({ process, path }: DiscoveredDisk, fail: () => void) {
  const { volumeId } = await adopt(process, path);
  fail();
  expect(await failureOf(remove(process, volumeId))).toMatchObject({ message: containing('EIO') });
  const forget = (): Promise<unknown> =>
    process.service.forgetDisk(volumeId, () => Promise.resolve(), callFor());
  return { volumeId, forget, inventory: inventoryOf(process.environment) };
}

describe.skipIf(why !== '')(`a mounted disk that fails while it is emptied${why}`, () => {
  it('waits for a person, who unmounts it and has it forgotten', async () => {
    const { found, fail } = await brittleDisk('ext4');
    await using _ = found;
    const { volumeId, forget, inventory } = await halfRemoved(found, fail);
    const { disk, path } = found;
    expect(inventory.doomed()).toMatchObject([
      { id: volumeId, stuck: { on: 'failing disk', mountPoint: path } },
    ]);
    expect(await failureOf(forget())).toMatchObject({ message: containing('umount --lazy') });
    disk.unmount('--lazy');
    // an attempt may be under way
    await expect.poll(() => forget().then(String, String)).toBe('[object Object]');
    expect(inventory.doomed()).toEqual([]);
    expect(inventory.forgotten()).toMatchObject([{ volumeId, mountPoint: path }]);
  });

  it('is forgotten where it stands once it cannot even be opened', async () => {
    const { found, fail } = await brittleDisk('xfs');
    await using _ = found;
    const { volumeId, forget, inventory } = await halfRemoved(found, fail);
    await expect
      .poll(() => inventory.doomed()[0]?.stuck, { timeout: 10_000 })
      .toEqual({ on: 'unusable disk', mountPoint: found.path });
    await expect.poll(() => forget().then(String, String)).toBe('[object Object]');
    expect(inventory.doomed()).toEqual([]);
    expect(inventory.forgotten()).toMatchObject([{ volumeId }]);
  });
});
