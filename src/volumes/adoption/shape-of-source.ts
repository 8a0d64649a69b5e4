import type { Directory } from '../../host/directory.ts';
import type { EntryFacts } from '../../host/entry-facts.ts';
import { probeType } from '../../host/filesystems.ts';
import { StorageError } from '../../model/errors.ts';
import { formatBytes, maxInt64 } from '../../model/quantity.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { blockBytes, ceilToBlock, floorToBlock } from '../space/capacity.ts';

/** As a CSI volume of which no size is said. Nothing holds a folder to it, and its claim may grow it. */
const defaultFolderBytes = 1n << 30n;

/** What a person may say of the volume that a folder or image is to become. */
export interface ShapeWish {
  /** of a folder only: what its PV promises, 1 GiB unless said; an image has its size */
  readonly sizeBytes?: bigint;
  /** of an image only; unset: `mount` where it has a file system that Loam knows, else `block` */
  readonly accessType?: 'mount' | 'block';
}

/**
 * The shape of the volume that a source is: an image of its own size, or a folder that nothing holds to a size, since its files belong to
 * no project yet.
 *
 * @throws StorageError 'invalid-argument' | 'size-out-of-range' | 'unsupported-capability', with what to do
 */
export async function shapeOfSource(
  id: VolumeId,
  parent: Directory,
  name: string,
  facts: EntryFacts,
  wish: ShapeWish,
): Promise<VolumeSpec> {
  const path = parent.pathOf(name);
  if (facts.kind === 'directory') return folderShape(id, path, wish);
  const { sizeBytes } = facts;
  if (wish.sizeBytes !== undefined && wish.sizeBytes !== sizeBytes)
    throw invalid(
      `${path} is an image of ${formatBytes(sizeBytes)} and keeps that size; leave the size out, grow it later`,
    );
  if (sizeBytes === 0n) throw invalid(`${path} is an empty file and no image; nothing is in it to adopt`);
  if (sizeBytes % blockBytes !== 0n) {
    throw new StorageError(
      'size-out-of-range',
      `${path} has ${sizeBytes} bytes, which are no whole blocks of ${blockBytes}; run truncate -s ${ceilToBlock(sizeBytes)} on it, then repeat`,
    );
  }
  const found = await probeType(parent.entry(name));
  const accessType = wish.accessType ?? (found === undefined ? 'block' : 'mount');
  if (accessType === 'mount' && found === undefined) {
    throw new StorageError(
      'unsupported-capability',
      `${path} holds no file system that Loam knows (ext4, xfs, btrfs; one in a partition does not count); adopt it as a block volume`,
    );
  }
  return {
    id,
    backend: 'loopback',
    accessType,
    sizeBytes,
    ...(accessType === 'mount' && found !== undefined ? { fsType: found } : {}),
    provisioning: facts.allocatedBytes >= sizeBytes ? 'thick' : 'thin',
    limit: 'enforced',
  };
}

function folderShape(
  id: VolumeId,
  path: string,
  { sizeBytes = defaultFolderBytes, accessType }: ShapeWish,
): VolumeSpec {
  if (accessType === 'block') throw invalid(`${path} is a folder and cannot be a block volume`);
  if (sizeBytes <= 0n)
    throw invalid(`${path}: ${sizeBytes} bytes are no size; say what its PV is to promise`);
  if (sizeBytes > floorToBlock(maxInt64))
    throw new StorageError(
      'size-out-of-range',
      `${path}: ${sizeBytes} bytes are more than a volume can have; say less`,
    );
  return {
    id,
    backend: 'directory',
    accessType: 'mount',
    sizeBytes: ceilToBlock(sizeBytes),
    provisioning: 'thin',
    limit: 'advisory',
  };
}

function invalid(message: string): StorageError {
  return new StorageError('invalid-argument', message);
}
