import { errorCode } from '../../host/descriptor.ts';
import { Directory } from '../../host/directory.ts';
import { identityOf } from '../../host/path-facts.ts';
import { isSubvolume, subvolumeIdOf } from '../../host/subvolumes.ts';
import { dataName, type VolumePlace } from '../backend.ts';

/** A volume's subvolume, held open. */
export interface VolumeData {
  /** the volume's own, which the subvolume lies in */
  readonly parent: Directory;
  readonly directory: Directory;
  readonly id: bigint;
  close(): Promise<void>;
}

/** Asked of btrfs once: the id lives as long as the subvolume. The device number is its own while it is in the kernel's memory. */
const knownIds = new Map<string, { readonly key: string; readonly id: bigint }>();
const maximumKnown = 20_000;

/** Undefined where there is none. */
export async function openData(place: VolumePlace, signal: AbortSignal): Promise<VolumeData | undefined> {
  const parent = await openIfThere(place.path);
  if (parent === undefined) return undefined;
  try {
    if (await isSubvolume(parent, dataName)) return await openWithId(parent, signal);
  } catch (error) {
    await parent.close();
    throw error;
  }
  await parent.close();
  return undefined;
}

async function openWithId(parent: Directory, signal: AbortSignal): Promise<VolumeData> {
  const directory = await parent.openChild(dataName);
  const close = async (): Promise<void> => {
    await directory.close();
    await parent.close();
  };
  try {
    return { parent, directory, id: await idOf(directory, signal), close };
  } catch (error) {
    await directory.close();
    throw error;
  }
}

async function idOf(directory: Directory, signal: AbortSignal): Promise<bigint> {
  const { device, inode } = await identityOf(directory);
  const key = `${device} ${inode}`;
  const known = knownIds.get(directory.realPath);
  if (known?.key === key) return known.id;
  const id = await subvolumeIdOf(directory, signal);
  if (knownIds.size >= maximumKnown) knownIds.clear();
  knownIds.set(directory.realPath, { key, id });
  return id;
}

/** To be called where a subvolume is made or deleted at a place: another could get the same numbers. */
export function forgetData(place: VolumePlace): void {
  knownIds.delete(`${place.path}/${dataName}`);
}

export async function openIfThere(path: string): Promise<Directory | undefined> {
  try {
    return await Directory.open(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
