import { createHash } from 'node:crypto';
import { open, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  PersistentVolume,
  PersistentVolumeClaim,
  VolumeSnapshot,
  VolumeSnapshotContent,
} from '../../src/kube/objects.ts';
import type { PodMount } from '../support/pod-mount.ts';

/** Names of files, or of a raw block volume's regions, and the checksums of what was written and synced: there for as long as the volume is. */
export type KeptFiles = ReadonlyMap<string, string>;

/** What a class of volumes says of their end. */
export const classKinds = ['delete', 'scrub', 'archive', 'recycle', 'retain', 'retain-for'] as const;
export type ClassKind = (typeof classKinds)[number];

/** What the test knows of one volume: the model that the disk and the API are compared with. */
export interface KeptVolume {
  readonly kind: ClassKind;
  /** the present one, or of a volume that was released, the last one */
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume;
  files: KeptFiles;
  sizeMiB: number;
  /** it was made for no claim, so that no link leads to it */
  readonly isFound?: boolean;
  /** a device for its pod, and no folder */
  readonly isBlock?: boolean;
  /** set while a pod uses it */
  pod?: PodMount;
}

export interface KeptSnapshot {
  readonly snapshot: VolumeSnapshot;
  readonly content: VolumeSnapshotContent;
  readonly files: KeptFiles;
  readonly sizeMiB: number;
  readonly isBlock?: boolean;
}

/** Something that was acknowledged is not there: the worst that can happen. */
export class Lost extends Error {
  override name = 'Lost';
}
/** Something is there that nobody wants. */
export class Leaked extends Error {
  override name = 'Leaked';
}
/** Something does not come to an end. */
export class Stuck extends Error {
  override name = 'Stuck';
}

/** A file on the volume, on disk when this resolves. @returns its checksum */
export async function writeSynced(folder: string, name: string, bytes: Buffer): Promise<string> {
  const file = await open(join(folder, name), 'w');
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  return sumOf(bytes);
}

/** @throws Lost naming each file that is missing or changed, Leaked for files that nobody wrote */
export async function compareFiles(what: string, folder: string, files: KeptFiles): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name !== 'lost+found');
  const missing = [...files.keys()].filter((name) => !names.includes(name));
  const changed: string[] = [];
  for (const [name, sum] of files) {
    if (!missing.includes(name) && sumOf(await readFile(join(folder, name))) !== sum) changed.push(name);
  }
  refuseDifference(what, { missing, changed, strange: names.filter((name) => !files.has(name)) });
}

interface Difference {
  readonly missing: readonly string[];
  readonly changed: readonly string[];
  readonly strange: readonly string[];
}

/** @throws Lost where anything is missing or changed, else Leaked where anything is strange */
export function refuseDifference(what: string, { missing, changed, strange }: Difference): void {
  if (missing.length + changed.length > 0)
    throw new Lost(
      `${what}: missing ${missing.join(', ') || 'nothing'}, changed ${changed.join(', ') || 'nothing'}`,
    );
  if (strange.length > 0)
    throw new Leaked(`${what}: it holds ${strange.join(', ')}, which nobody wrote to it`);
}

export function volumeModeOf({ isBlock = false }: Pick<KeptVolume, 'isBlock'>): 'Block' | 'Filesystem' {
  return isBlock ? 'Block' : 'Filesystem';
}

export function sumOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
