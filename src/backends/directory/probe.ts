import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Directory } from '../../host/directory.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { isAtOrBelow } from '../../host/mountinfo.ts';
import { kindAt } from '../../host/path-facts.ts';
import { projectQuotaMount, projectsOf } from '../../host/project-quota.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { CommandError, run } from '../../host/run.ts';
import { statFileSystem } from '../../host/statfs.ts';
import { whileOpen } from '../../host/while-open.ts';
import { createRootDirectory } from '../../host/volume-root.ts';
import { messageOf } from '../../model/errors.ts';
import { dataName, type BackendProbe, type VolumePlace } from '../backend.ts';
import { provisionalBy } from '../may-pass.ts';
import { defaultRootMode } from '../root-owner.ts';
import { neededBytes, whyNotByLimit } from './judge-stop.ts';
import { firstProject, type Projects } from './projects.ts';

const probeName = 'probe-directory';
const fileName = 'file';
const limitBytes = 4n << 20n;

/** Directories work wherever one can be made; their sizes are only a promise unless a project quota was seen to hold one. */
export async function probeDirectories(
  scratch: VolumePlace,
  projects: Projects,
  poolPaths: readonly string[],
  signal: AbortSignal,
): Promise<BackendProbe> {
  try {
    await createRootDirectory(scratch.path, probeName, { mode: defaultRootMode, uid: 0, gid: 0 });
  } catch (error) {
    const detail = `directories cannot be made: ${messageOf(error)}`;
    return { usable: false, detail, ...provisionalBy(error) };
  }
  try {
    const mountPoint = await projectQuotaMount(scratch.path);
    if (mountPoint === undefined) return advisory('no project quota (mount option prjquota, on xfs or ext4)');
    await projects.removeStale(mountPoint, signal);
    return await tryLimit(scratch, projects, poolPaths, signal);
  } catch (error) {
    return { ...advisory(`no limit can be set: ${messageOf(error)}`), ...provisionalBy(error) };
  } finally {
    await removeProbe(scratch, projects);
  }
}

async function removeProbe(scratch: VolumePlace, projects: Projects): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  await projects.end(scratch, [probeName], signal).catch(() => {});
  await whileOpen(Directory.open(scratch.path), (directory) =>
    removeTree(directory, probeName, { signal, pace: unlimitedPace }),
  );
}

function advisory(why: string): BackendProbe {
  return { usable: true, enforcesLimit: false, detail: `${why}: sizes of directories are advisory` };
}

async function tryLimit(
  scratch: VolumePlace,
  projects: Projects,
  poolPaths: readonly string[],
  signal: AbortSignal,
): Promise<BackendProbe> {
  const twins = await sharedProject(scratch, poolPaths, signal);
  if (twins !== undefined) return advisory(twins);
  const path = join(scratch.path, probeName);
  // of the folder around it: below a project's directory statfs(2) tells the project's room, not the disk's
  const room = async (): Promise<bigint> => (await statFileSystem(scratch.path)).availableBytes;
  const roomBeforeBytes = await room();
  await projects.begin(path, limitBytes, signal);
  if (!(await isStopped(path, signal))) return advisory('a directory took more than its project quota');
  const writtenBytes = (await stat(join(path, fileName), { bigint: true })).size;
  const unclear = whyNotByLimit({ limitBytes, writtenBytes, roomBeforeBytes, roomAfterBytes: await room() });
  if (unclear !== undefined) return { ...advisory(unclear), isProvisional: true };
  const detail =
    'project quota holds the size of directories; not against who changes the project id of own files, or (ext4) has CAP_SYS_RESOURCE';
  return { usable: true, enforcesLimit: true, holdsAgainst: 'trusted', detail };
}

/** Writes twice the limit, as a pod would: ext4 lets whoever has this capability take more. */
async function isStopped(path: string, signal: AbortSignal): Promise<boolean> {
  const writer = [
    'dd',
    'if=/dev/zero',
    `of=${join(path, fileName)}`,
    'bs=1M',
    `count=${neededBytes(limitBytes) >> 20n}`,
    'conv=fsync',
  ];
  try {
    await run('setpriv', ['--bounding-set=-sys_resource', '--', ...writer], { signal });
    return false;
  } catch (error) {
    if (error instanceof CommandError && /no space left|quota exceeded/i.test(error.stderr)) return true;
    throw error;
  }
}

/** Two volumes with one id, as after copying by hand, would take each other's space. */
async function sharedProject(
  scratch: VolumePlace,
  poolPaths: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const pool = poolPaths.find((path) => isAtOrBelow(scratch.path, path));
  if (pool === undefined) return undefined;
  const names = await readdir(join(pool, 'volumes')).catch(() => []);
  const owners = new Map<number, string>();
  for (let at = 0; at < names.length; at += 500) {
    const paths = names.slice(at, at + 500).map((name) => join(pool, 'volumes', name, dataName));
    for (const [path, id] of await projectsOf(await directoriesOf(paths), signal)) {
      const other = owners.get(id);
      if (other !== undefined)
        return `${other} and ${path} share the project id ${id}, delete or restore one of them`;
      if (id >= firstProject) owners.set(id, path);
    }
  }
  return undefined;
}

async function directoriesOf(paths: readonly string[]): Promise<string[]> {
  const kinds = await Promise.all(paths.map(kindAt));
  return paths.filter((_, index) => kinds[index] === 'directory');
}
