import { readFileSync, readdirSync, realpathSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { mountCovering, readMounts } from './mountinfo.ts';
import { run } from './run.ts';

const root = '/sys/fs/btrfs';

/** A mounted btrfs, by where the kernel tells about it. */
export interface BtrfsFileSystem {
  /** its folder in sysfs */
  readonly sysPath: string;
  /** where it is mounted, with the path that was asked for below it */
  readonly mountPoint: string;
  /** what of it is mounted there: `/` is all of it */
  readonly mountedRoot: string;
}

/** The btrfs that a path lies on; undefined where it lies on something else. Starts a process only for disks with unusual names. */
export async function btrfsAt(path: string, signal: AbortSignal): Promise<BtrfsFileSystem | undefined> {
  const mount = mountCovering(await readMounts(), await realpath(path));
  if (mount?.fsType !== 'btrfs') return undefined;
  const uuid = uuidByDevice(mount.source) ?? (await uuidByTool(mount.mountPoint, signal));
  return { sysPath: join(root, uuid), mountPoint: mount.mountPoint, mountedRoot: mount.root };
}

function uuidByDevice(source: string): string | undefined {
  try {
    const name = basename(realpathSync(source));
    return readdirSync(root).find((uuid) => namesIn(join(root, uuid, 'devices')).includes(name));
  } catch {
    // the device has no name in our /dev
    return undefined;
  }
}

async function uuidByTool(mountPoint: string, signal: AbortSignal): Promise<string> {
  const { stdout } = await run('btrfs', ['filesystem', 'show', '--raw', mountPoint], { signal });
  // at the end of its line, after a label that can be anything
  const uuid = /uuid: ([0-9a-f-]{36})$/m.exec(stdout)?.[1];
  if (uuid === undefined) throw new Error(`btrfs filesystem show names no uuid for ${mountPoint}`);
  return uuid;
}

/** Errors that its devices have counted since they were last reset, as `device 1: write_errs 3`; none where all is well. */
export function deviceErrors({ sysPath }: BtrfsFileSystem): string[] {
  const folder = join(sysPath, 'devinfo');
  return namesIn(folder).flatMap((id) => {
    const counts = readIfThere(join(folder, id, 'error_stats')) ?? '';
    const counted = [...counts.matchAll(/^(\w+) ([1-9]\d*)$/gm)].map(([, what, count]) => `${what} ${count}`);
    return counted.length === 0 ? [] : [`device ${id}: ${counted.join(', ')}`];
  });
}

/** Synchronous: sysfs answers from memory. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
