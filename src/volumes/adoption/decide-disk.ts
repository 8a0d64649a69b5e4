import type { DiskPlace } from '../../model/volume.ts';

/** A disk that is a volume, or was one and is being emptied. */
export interface KnownDisk {
  readonly poolUuid: string;
  readonly volumeId: string;
  readonly disk: DiskPlace;
  readonly isDeleted: boolean;
}

/** What is mounted at an entry of a discovery folder; unset: nothing, it is an ordinary folder. */
export interface FoundDisk {
  readonly type: string;
  /** unset: not known */
  readonly uuid?: string;
  /** why it is no disk that could be a volume; unset: it is one */
  readonly why?: string;
}

export type DiskDecision =
  | { readonly kind: 'folder' }
  | { readonly kind: 'known'; readonly volumeId: string }
  | { readonly kind: 'obstacle'; readonly why: string }
  | { readonly kind: 'take'; readonly disk: DiskPlace };

/**
 * Pure: whether an entry of a discovery folder is a disk that becomes a volume. One disk is one volume, wherever it is mounted; and the
 * mount point of a disk that is away is no folder to be taken.
 */
export function decideDisk(facts: {
  readonly path: string;
  readonly poolUuid: string;
  readonly entry: string;
  readonly found: FoundDisk | undefined;
  /** of every pool */
  readonly known: readonly KnownDisk[];
  /** why not every volume is known, so that this disk could be one already; unset: all are */
  readonly unknown: string | undefined;
  /** whether it holds a pool */
  readonly isPool: boolean;
  /** of the entries before it, those that show the same disk */
  readonly earlier: string | undefined;
}): DiskDecision {
  const { path, poolUuid, entry, found, known, unknown, isPool, earlier } = facts;
  const isHere = (each: KnownDisk): boolean => each.poolUuid === poolUuid && each.disk.entry === entry;
  const here = known.find((each) => isHere(each) && !each.isDeleted) ?? known.find(isHere);
  if (found === undefined) {
    if (here === undefined) return { kind: 'folder' };
    const { type, uuid } = here.disk;
    return obstacle(
      `${path} is the mount point of the ${type} ${uuid} of volume ${here.volumeId}, which is not mounted; mount it there again`,
    );
  }
  const { type, uuid, why } = found;
  const same = known.filter(({ disk }) => disk.uuid === uuid && disk.type === type);
  const own = same.find((each) => isHere(each) && !each.isDeleted);
  if (own !== undefined) return { kind: 'known', volumeId: own.volumeId };
  if (why !== undefined || uuid === undefined)
    return obstacle(`${path} is no disk to become a volume: ${why ?? type}`);
  const doomed = same.find(({ isDeleted }) => isDeleted);
  if (doomed !== undefined)
    return obstacle(
      `the disk at ${path} is being emptied, as volume ${doomed.volumeId} was deleted; it is offered then`,
    );
  const [other] = same;
  if (other !== undefined)
    return obstacle(
      `the disk at ${path} is that of volume ${other.volumeId}, which has it at ${other.disk.entry} of its pool's discovery folder; ` +
        'mount it there, or delete that volume first',
    );
  if (here !== undefined)
    return obstacle(
      `${path} is the mount point of the ${here.disk.type} ${here.disk.uuid} of volume ${here.volumeId}, and the ${type} ${uuid} is mounted there; ` +
        'mount each at a place of its own',
    );
  if (earlier !== undefined)
    return obstacle(
      `${path} shows the same file system (${type} ${uuid}) as ${earlier}; unmount one of them`,
    );
  if (isPool) return obstacle(`${path} is a pool; have it configured as one, or unmount it`);
  if (unknown !== undefined) return obstacle(`the disk at ${path} may be a volume already: ${unknown}`);
  return { kind: 'take', disk: { entry, type, uuid } };
}

function obstacle(why: string): DiskDecision {
  return { kind: 'obstacle', why };
}
