import { dirname } from 'node:path';
import { StorageError } from '../model/errors.ts';
import type { FsType } from '../model/volume.ts';
import { renewExt4InPlace } from './ext4-uuid.ts';
import { attach, detach } from './loop-devices.ts';
import { runInPrivateMount } from './private-mount.ts';
import { CommandError, run } from './run.ts';
import { readSuperblock } from './superblock.ts';

/**
 * Gives the file system on an image that nobody has attached a uuid of its own, so that it can be mounted beside the one that it was
 * copied from. What its journal or log holds is replayed first. Takes no time that grows with the data.
 *
 * @throws StorageError 'host-failure'
 * Crash-safe: a repeat gives it another one; a loop device that was left is taken over.
 */
export async function renewUuid(path: string, fsType: FsType, signal: AbortSignal): Promise<void> {
  const before = await readSuperblock(path, fsType);
  if (fsType === 'ext4') await renewExt4(path, before.needsReplay === true, signal);
  else if (fsType === 'xfs') await renewXfs(path, signal);
  else {
    if (before.needsReplay === true)
      await onDevice(path, signal, (device) => replay(device, path, fsType, signal));
    await run('btrfstune', ['-f', '-m', path], { signal });
  }
  const after = await readSuperblock(path, fsType);
  // xfs_db ends with 0 whatever happens
  if (after.uuid !== before.uuid) return;
  throw new StorageError('host-failure', `the ${fsType} on ${path} did not get a uuid of its own`);
}

async function renewExt4(path: string, needsReplay: boolean, signal: AbortSignal): Promise<void> {
  if (needsReplay) {
    await run('e2fsck', ['-p', '-E', 'journal_only', '--', path], { signal }).catch((error: unknown) => {
      if (!(error instanceof CommandError) || error.exitCode !== 1) throw error;
    });
  }
  if (await renewExt4InPlace(path)) return;
  try {
    // the checksums were made with the old uuid; noted as their seed they stay right, and are not all written anew
    await run('tune2fs', ['-O', 'metadata_csum_seed', '-U', 'random', path], { signal });
  } catch (error) {
    if (!(error instanceof CommandError) || !error.stderr.includes('metadata_csum')) throw error;
    await run('tune2fs', ['-U', 'random', path], { signal });
  }
}

async function renewXfs(path: string, signal: AbortSignal): Promise<void> {
  // a frozen xfs leaves its log to be replayed on purpose
  await onDevice(path, signal, async (device) => {
    await replay(device, path, 'xfs', signal);
    await run('xfs_db', ['-x', '-p', 'xfs_admin', '-c', 'uuid generate', device], { signal });
  });
}

async function onDevice(
  path: string,
  signal: AbortSignal,
  work: (device: string) => Promise<void>,
): Promise<void> {
  const { path: device } = await attach(path, { directIo: true, readonly: false, signal });
  try {
    await work(device);
  } finally {
    await detach(device, AbortSignal.timeout(10_000));
  }
}

async function replay(device: string, imagePath: string, fsType: FsType, signal: AbortSignal): Promise<void> {
  await runInPrivateMount({
    device,
    fsType,
    options: fsType === 'xfs' ? ['nouuid'] : [],
    place: dirname(imagePath),
    script: ':',
    args: [],
    signal,
  });
}
