import { readFileSync } from 'node:fs';

/** One line of mountinfo, proc(5). */
export interface Mount {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor` of the file system; btrfs has one of its own, not its disk's */
  readonly device: string;
  /** what of the file system is seen here */
  readonly root: string;
  readonly mountPoint: string;
  /** of this mount */
  readonly options: readonly string[];
  readonly fsType: string;
  readonly source: string;
  /** of the file system, wherever it is mounted */
  readonly superOptions: readonly string[];
}

/** The mounts of this process's namespace. No process started; read at once, since /proc never waits for a disk. */
export async function readMounts(): Promise<Mount[]> {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** Lines that are none are passed over: the kernel may learn to say more. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const mount = parseLine(line);
    if (mount !== undefined) mounts.push(mount);
  }
  return mounts;
}

function parseLine(line: string): Mount | undefined {
  const fields = line.split(' ');
  // the optional fields (propagation) end at a lone dash; a path cannot hold a blank, since blanks are escaped
  const dash = fields.indexOf('-', 6);
  const [id, parentId, device, root, mountPoint, options] = fields;
  const [fsType, source, superOptions] = dash === -1 ? [] : fields.slice(dash + 1);
  if (id === undefined || parentId === undefined || device === undefined || root === undefined)
    return undefined;
  if (mountPoint === undefined || options === undefined || fsType === undefined) return undefined;
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescapePath(root),
    mountPoint: unescapePath(mountPoint),
    options: options.split(','),
    fsType: unescapePath(fsType),
    source: unescapePath(source ?? ''),
    superOptions: (superOptions ?? '').split(','),
  };
}

/** Blank, tab, newline and backslash are written as three octal digits. */
function unescapePath(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCodePoint(Number.parseInt(digits, 8)),
  );
}

/**
 * The mount that an access to this path ends in: from the root downwards as the kernel walks, so that mounts
 * hidden below a later one do not count.
 *
 * @param path absolute, without links
 */
export function mountCovering(mounts: readonly Mount[], path: string): Mount | undefined {
  const byParent = Map.groupBy(mounts, (mount) => mount.parentId);
  const ids = new Set(mounts.map((mount) => mount.id));
  let current = mounts.findLast(
    (mount) => mount.mountPoint === '/' && (mount.parentId === mount.id || !ids.has(mount.parentId)),
  );
  // at most one step per mount: a parent id that leads in a circle would be the kernel's fault, not a reason to hang
  for (let steps = 0; current !== undefined && steps < mounts.length; steps += 1) {
    const next = firstCrossed(byParent.get(current.id) ?? [], current, path);
    if (next === undefined) return current;
    current = next;
  }
  return current;
}

function firstCrossed(children: readonly Mount[], current: Mount, path: string): Mount | undefined {
  let first: Mount | undefined;
  for (const child of children) {
    if (child.id === current.id || !isAtOrBelow(path, child.mountPoint)) continue;
    if (first === undefined || child.mountPoint.length < first.mountPoint.length) first = child;
  }
  return first;
}

/** The topmost mount exactly at this path, if there is one. */
export function mountAt(mounts: readonly Mount[], path: string): Mount | undefined {
  const covering = mountCovering(mounts, path);
  return covering?.mountPoint === path ? covering : undefined;
}

/** What of which file system lies at a path; equal for two paths exactly when one is a bind mount of the other. */
export interface Location {
  readonly device: string;
  readonly root: string;
}

/** Where an existing path lies on its file system. */
export function locate(mounts: readonly Mount[], path: string): Location | undefined {
  const covering = mountCovering(mounts, path);
  if (covering === undefined) return undefined;
  const below = path.slice(covering.mountPoint === '/' ? 1 : covering.mountPoint.length + 1);
  const root = covering.root === '/' ? '' : covering.root;
  return { device: covering.device, root: below === '' ? covering.root : `${root}/${below}` };
}

export function isAtOrBelow(path: string, parent: string): boolean {
  return path === parent || path.startsWith(parent === '/' ? '/' : `${parent}/`);
}

/** Mounts of a place, or of what is below it, wherever they appear. */
export function mountsOf(mounts: readonly Mount[], place: Location): Mount[] {
  return mounts.filter((mount) => mount.device === place.device && isAtOrBelow(mount.root, place.root));
}

/** One of some mounts whose path leads to it, and not to another that was mounted over it; a writable one where there is one. */
export function reachableOf(mounts: readonly Mount[], some: readonly Mount[]): Mount | undefined {
  const seen = some.filter((mount) => mountAt(mounts, mount.mountPoint)?.id === mount.id);
  return seen.find((mount) => !mount.options.includes('ro')) ?? seen[0];
}
