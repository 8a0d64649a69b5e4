import { realpath, statfs } from 'node:fs/promises';
import { mountCovering, readMounts } from './mountinfo.ts';
import { run } from './run.ts';

/** What the file system keeps for one project: its use and its limits, by id. */
export interface ProjectUse {
  readonly id: number;
  readonly usedBytes: bigint;
  /** 0n: none */
  readonly limitBytes: bigint;
  readonly usedInodes: bigint;
  readonly limitInodes: bigint;
}

export interface ProjectLimit {
  /** 0n: no limit */
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/**
 * Where quota commands are to be told of the file system that a path is on; undefined where it does not hold project quotas:
 * only xfs and ext4 have them, and only where they are mounted so.
 */
export async function projectQuotaMount(path: string): Promise<string | undefined> {
  const mount = mountCovering(await readMounts(), await realpath(path));
  if (mount === undefined || !['xfs', 'ext4'].includes(mount.fsType)) return undefined;
  return mount.superOptions.includes('prjquota') ? mount.mountPoint : undefined;
}

/**
 * Puts a directory into a project: it and what is made in it later count there. For a directory of ours that nobody else reaches,
 * since the path is followed.
 */
export async function setProject(path: string, id: number, signal: AbortSignal): Promise<void> {
  await run('chattr', ['-p', String(id), '+P', '--', path], { signal });
}

/** The projects of directories that hand theirs down to what is made in them, by path; others are not among them. */
export async function projectsOf(
  paths: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  if (paths.length === 0) return new Map();
  const { stdout } = await run('lsattr', ['-d', '-p', '--', ...paths], { signal });
  return parseProjects(stdout);
}

/** Reads `lsattr -d -p`. */
export function parseProjects(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, id, flags, path] = /^\s*(\d+) (\S+) (.+)$/.exec(line) ?? [];
    if (id !== undefined && path !== undefined && flags?.includes('P') === true) found.set(path, Number(id));
  }
  return found;
}

/** Sets what a project may take at most, in force at once. Less than it has stops it from growing. */
export async function limitProject(
  mountPoint: string,
  id: number,
  limit: ProjectLimit,
  signal: AbortSignal,
): Promise<void> {
  await tellQuota(mountPoint, `limit -p bhard=${limit.bytes} ihard=${limit.inodes} ${id}`, signal);
}

/** All projects that have something or may have only so much. */
export async function listProjects(mountPoint: string, signal: AbortSignal): Promise<ProjectUse[]> {
  return parseProjectReport(await tellQuota(mountPoint, 'report -p -n -N -b -i', signal));
}

/** Reads the report, which counts in KiB. */
export function parseProjectReport(text: string): ProjectUse[] {
  const found: ProjectUse[] = [];
  const pattern = /^#(\d+)\s+(\d+)\s+\d+\s+(\d+)\s+\d+ \[[^\]]*\]\s+(\d+)\s+\d+\s+(\d+)\s/;
  for (const line of text.split('\n')) {
    const [, id, used, limit, usedInodes, limitInodes] = pattern.exec(line) ?? [];
    if (id === undefined || used === undefined || limit === undefined) continue;
    found.push({
      id: Number(id),
      usedBytes: BigInt(used) * 1024n,
      limitBytes: BigInt(limit) * 1024n,
      usedInodes: BigInt(usedInodes ?? 0),
      limitInodes: BigInt(limitInodes ?? 0),
    });
  }
  return found;
}

async function tellQuota(mountPoint: string, command: string, signal: AbortSignal): Promise<string> {
  // -f: ext4 too
  const { stdout } = await run('xfs_quota', ['-f', '-x', '-c', command, mountPoint], { signal });
  return stdout;
}

/**
 * What statfs says of a directory: where its project is limited the kernel answers with that and not with its whole
 * file system. One system call.
 */
export async function shownSpace(path: string): Promise<{ totalBytes: bigint; usedBytes: bigint }> {
  const { blocks, bfree, bsize } = await statfs(path, { bigint: true });
  return { totalBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize };
}
