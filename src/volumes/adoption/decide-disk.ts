import type { DiskPlace } from '../../model/volume.ts';

/** A disk that is a volume, or was one and is being emptied. */
export interface KnownDisk {
  readonly poolUuid: string;
  readonly volumeId: string;
  readonly disk: DiskPlace;
  readonly isDeleted: boolean;
}

/** A disk that was a volume and was given up while it was away. Whose data it has is not offered to anybody. */
export interface ForgottenDisk {
  readonly poolUuid: string;
  readonly volumeId: string;
  readonly disk: DiskPlace;
  /** `namespace/name`; '' where none is known */
  readonly claim: string;
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
  /** of every pool; none where a person takes the disk by hand */
  readonly forgotten: readonly ForgottenDisk[];
  /** why not every volume is known, so that this disk could be one already; unset: all are */
  readonly unknown: string | undefined;
  /** whether it holds a pool */
  readonly isPool: boolean;
  /** of the entries before it, those that show the same disk */
  readonly earlier: string | undefined;
}): DiskDecision {
  const { path, poolUuid, entry, found, known, forgotten, unknown, isPool, earlier } = facts;
  const isAt = (each: KnownDisk | ForgottenDisk): boolean =>
    each.poolUuid === poolUuid && each.disk.entry === entry;
  const here = known.find((each) => isAt(each) && !each.isDeleted) ?? known.find(isAt);
  if (found === undefined) {
    if (here === undefined) return decideEmptied(path, forgotten.find(isAt));
    const { type, uuid } = here.disk;
    return obstacle(
      `${path} is the mount point of the ${type} ${uuid} of volume ${here.volumeId}, which is not mounted; mount it there again, ` +
        `or, if it is gone for good, loam gc --forget ${here.volumeId}`,
    );
  }
  const { type, uuid, why } = found;
  const same = known.filter(({ disk }) => disk.uuid === uuid && disk.type === type);
  const own = same.find((each) => isAt(each) && !each.isDeleted);
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
  const given = forgotten.find(({ disk }) => disk.uuid === uuid && disk.type === type);
  if (given !== undefined) {
    const whose = given.claim === '' ? '' : ` of claim ${given.claim}`;
    return obstacle(
      `the disk at ${path}, the ${type} ${uuid}, was forgotten while it was away and has the data of volume ${given.volumeId}${whose}: ` +
        `adopt it by hand (loam adopt ${path}), or make a new file system on it, which has another uuid`,
    );
  }
  if (isPool) return obstacle(`${path} is a pool; have it configured as one, or unmount it`);
  if (unknown !== undefined) return obstacle(`the disk at ${path} may be a volume already: ${unknown}`);
  return { kind: 'take', disk: { entry, type, uuid } };
}

/** The mount point of a disk that was given up waits for another one: taken as a folder it would be in that one's way. */
function decideEmptied(path: string, forgotten: ForgottenDisk | undefined): DiskDecision {
  if (forgotten === undefined) return { kind: 'folder' };
  const { type, uuid } = forgotten.disk;
  return obstacle(
    `${path} was the mount point of the ${type} ${uuid} of volume ${forgotten.volumeId}, which was forgotten; ` +
      'mount another disk there, remove it, or give the folder another name',
  );
}

function obstacle(why: string): DiskDecision {
  return { kind: 'obstacle', why };
}
