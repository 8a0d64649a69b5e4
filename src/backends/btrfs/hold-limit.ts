import { btrfsAt, type BtrfsFileSystem } from '../../host/btrfs-file-systems.ts';
import { listChildren, mayHaveNested, nestedSubvolumes } from '../../host/nested-subvolumes.ts';
import { limitSubvolume, qgroupOf, quotaState, type Qgroup } from '../../host/qgroups.ts';
import { commandPath } from '../../host/subvolumes.ts';
import { StorageError } from '../../model/errors.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { VolumePlace } from '../backend.ts';
import type { VolumeData } from './volume-data.ts';

type Data = Omit<VolumeData, 'close'>;

/** A volume's subvolume and those that were made inside it, as the quota counts them. */
export interface Holding {
  readonly usedBytes: bigint;
  readonly nestedCount: number;
}

interface Member extends Qgroup {
  readonly id: bigint;
}

/** A limit of nothing would be none to some tools. */
const leastLimitBytes = 4096n;

/**
 * Has the kernel hold the volume to its size from now on, or no longer, whatever it was before. Subvolumes that a pod has made
 * inside are not counted by the kernel with the volume: each is limited to what it has and what is left for all of them, so
 * that from one look to the next no more than the rest can be written into each.
 *
 * @throws StorageError 'limit-not-enforced' where the limit is to be enforced and quota is off
 */
export async function holdLimit(
  fileSystem: BtrfsFileSystem,
  data: Data,
  spec: Pick<VolumeSpec, 'id' | 'limit' | 'sizeBytes'>,
  signal: AbortSignal,
): Promise<Holding> {
  const isEnforced = spec.limit === 'enforced';
  if (quotaState(fileSystem).mode === 'off') {
    if (isEnforced) throw quotaIsOff(fileSystem, `the size of volume ${spec.id}`);
    return { usedBytes: 0n, nestedCount: 0 };
  }
  const members = await membersOf(fileSystem, data, signal);
  const usedBytes = sumOf(members);
  for (const member of members) {
    const wanted = isEnforced ? limitOf(member, members, spec.sizeBytes) : undefined;
    if (member.limitBytes === wanted) continue;
    await limitSubvolume(commandPath(data.parent), member.id, wanted, signal);
  }
  return { usedBytes, nestedCount: members.length - 1 };
}

/**
 * Sets the limit where it is another: gone, as after quota was off for a while, or the one of before a growth, which a power cut takes
 * from the quota and not from the record. Where quota is off still, or a limit is there and what lies inside cannot be looked at, the
 * pod gets its data all the same, and the volume's condition tells.
 */
export async function restoreLimit(
  fileSystem: BtrfsFileSystem,
  data: Data,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<void> {
  if (spec.limit === 'advisory' || quotaState(fileSystem).mode === 'off') return;
  const limitBytes = qgroupOf(fileSystem, data.id)?.limitBytes;
  if (limitBytes === spec.sizeBytes) return;
  try {
    await holdLimit(fileSystem, data, spec, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (limitBytes === undefined) throw error;
  }
}

/** Without a look at what any limit is. */
export async function countHolding(
  fileSystem: BtrfsFileSystem,
  data: Data,
  signal: AbortSignal,
): Promise<Holding> {
  const members = await membersOf(fileSystem, data, signal);
  return { usedBytes: sumOf(members), nestedCount: members.length - 1 };
}

async function membersOf(fileSystem: BtrfsFileSystem, data: Data, signal: AbortSignal): Promise<Member[]> {
  const nested = await nestedSubvolumes(data.directory, data.id, signal);
  const uncounted: Qgroup = { usedBytes: 0n, limitBytes: undefined };
  return [data, ...nested].map(({ id }) => ({ id, ...(qgroupOf(fileSystem, id) ?? uncounted) }));
}

function sumOf(members: readonly Member[]): bigint {
  return members.reduce((sum, { usedBytes }) => sum + usedBytes, 0n);
}

/** What one member may hold, so that all of them together have the size. */
export function limitOf(
  member: Pick<Member, 'usedBytes'>,
  members: readonly Member[],
  sizeBytes: bigint,
): bigint {
  if (members.length === 1) return sizeBytes;
  const restBytes = sizeBytes - sumOf(members);
  const limitBytes = member.usedBytes + (restBytes > 0n ? restBytes : 0n);
  return limitBytes < leastLimitBytes ? leastLimitBytes : limitBytes;
}

/** What the quota may count of its own beyond a limit, for metadata; growth is by more. */
const slackBytes = 1n << 20n;

/**
 * The size that a volume is held to by its limit; undefined where that is not known. With subvolumes inside, the limit of each is what
 * was left at some time; one that was squeezed to what it had may be a little above the size, which is no growth.
 */
export async function heldSize(
  fileSystem: BtrfsFileSystem,
  data: Data,
  { sizeBytes }: Pick<VolumeSpec, 'sizeBytes'>,
): Promise<bigint | undefined> {
  if (quotaState(fileSystem).mode === 'off') return undefined;
  const limitBytes = qgroupOf(fileSystem, data.id)?.limitBytes;
  if (limitBytes === undefined || limitBytes < sizeBytes + slackBytes) return undefined;
  return (await mayHold(fileSystem, data)) ? undefined : limitBytes;
}

export function quotaIsOff({ mountPoint }: BtrfsFileSystem, what: string): StorageError {
  return new StorageError(
    'limit-not-enforced',
    `quota is off on ${mountPoint} and nothing holds ${what}; run btrfs quota enable ${mountPoint}`,
  );
}

export async function fileSystemOf(place: VolumePlace, signal: AbortSignal): Promise<BtrfsFileSystem> {
  const found = await btrfsAt(place.path, signal);
  if (found !== undefined) return found;
  throw new StorageError('pool-unavailable', `${place.path} is not on btrfs; mount the pool's disk`);
}

interface Look {
  readonly atMs: number;
  readonly children: ReturnType<typeof listChildren>;
}

const looks = new Map<string, Look>();
const looksLastMs = 30_000;

/** Whether pods may have made subvolumes inside: one list of the whole file system answers it for all its volumes for a while. */
export async function mayHold(fileSystem: BtrfsFileSystem, data: Data): Promise<boolean> {
  const key = fileSystem.sysPath;
  let look = looks.get(key);
  if (look === undefined || performance.now() - look.atMs > looksLastMs) {
    look = { atMs: performance.now(), children: listChildren(data.directory, AbortSignal.timeout(30_000)) };
    looks.set(key, look);
    look.children.catch(() => looks.delete(key));
  }
  return mayHaveNested(await look.children, data.id);
}
