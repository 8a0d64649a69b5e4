import type { BigIntStats } from 'node:fs';
import { chmod, chown, utimes } from 'node:fs/promises';
import { descriptorPath, descriptorPathForCommands } from './descriptor.ts';
import { isErrno } from './mounts.ts';
import { run } from './run.ts';

/** What a directory has beside its entries. */
export interface DirectoryAttributes {
  readonly stat: BigIntStats;
  /** extended attributes with ACLs among them, a line each as getfattr writes it */
  xattrs: readonly string[];
}

/** kubelet and the container runtime label a volume for the pod that gets it; another pod's label would lock it out */
const leftOut = /^security\.selinux=/;

/** Extended attributes of open directories, one list each in their order, by one process for all. */
export async function readXattrs(fds: readonly number[], signal: AbortSignal): Promise<string[][]> {
  if (fds.length === 0) return [];
  const paths = fds.map(descriptorPathForCommands);
  const args = ['--absolute-names', '--dump', '--match=-', '--encoding=base64', '--', ...paths];
  const { stdout } = await run('getfattr', args, { signal, timeoutMs: 600_000 });
  const found = parseXattrs(stdout);
  return paths.map((path) => found.get(path) ?? []);
}

/** Reads getfattr's dump of several files: lines by path. */
export function parseXattrs(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of text.split('\n')) {
    const header = /^# file: (.+)$/.exec(line)?.[1];
    if (header !== undefined) {
      current = [];
      found.set(header, current);
    } else if (line !== '' && !leftOut.test(line)) current.push(line);
  }
  return found;
}

/** Gives finished directories the attributes of their originals; times last, since everything before changes them. */
export async function applyAttributes(
  directories: readonly { readonly fd: number; readonly attributes: DirectoryAttributes }[],
  signal: AbortSignal,
): Promise<void> {
  for (const { fd, attributes } of directories) await setOwner(fd, attributes.stat);
  const dump = directories
    .filter(({ attributes }) => attributes.xattrs.length > 0)
    .map(({ fd, attributes }) =>
      [`# file: ${descriptorPathForCommands(fd)}`, ...attributes.xattrs, '', ''].join('\n'),
    )
    .join('');
  if (dump !== '') await run('setfattr', ['--restore=-'], { signal, input: dump, timeoutMs: 600_000 });
  for (const { fd, attributes } of directories) {
    const { stat } = attributes;
    await chmod(descriptorPath(fd), Number(stat.mode & 0o7777n));
    await utimes(descriptorPath(fd), secondsOf(stat.atimeNs), secondsOf(stat.mtimeNs));
  }
}

async function setOwner(fd: number, stat: BigIntStats): Promise<void> {
  try {
    await chown(descriptorPath(fd), Number(stat.uid), Number(stat.gid));
  } catch (error) {
    if (!isOwnerRefused(error)) throw error;
  }
}

/** Only root gives files away; who is not root owned them before. */
export function isOwnerRefused(error: unknown): boolean {
  return isErrno(error, 'EPERM', 'EINVAL') && process.geteuid?.() !== 0;
}

/** As Node takes times: to the microsecond, which is what a double can hold of them. It cuts off what is beyond. */
export function secondsOf(timeNs: bigint): number {
  return (Number(timeNs / 1000n) + 0.5) / 1e6;
}
