import { parseDurationMs } from './duration.ts';
import { messageOf, StorageError } from './errors.ts';
import { parseNodeLoss } from './node-loss.ts';
import { madeBackends, type BackendName, type FsType } from './volume.ts';

/**
 * The parameters of a StorageClass, parsed. Every one is optional; an unknown key is refused, because a typo
 * that is silently ignored (`limits: advisory`) is found only when the disk is full.
 */
export interface ClassParameters {
  /** `auto`: the pool's best backend whose limit holds */
  readonly backend: BackendName | 'auto';
  /** unset: any pool that fits */
  readonly pool?: string;
  readonly fsType?: FsType;
  readonly provisioning: 'thin' | 'thick';
  readonly limit: 'enforced' | 'advisory';
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly onDelete: OnDelete;
  readonly scrub: ScrubMethod;
  /** how long a released volume is left as it is before `onDelete` counts; 0: not at all */
  readonly retainForMs: number;
  /** `recycle`: with policy Retain a released volume is emptied and offered to the next claim */
  readonly onRelease: 'keep' | 'recycle';
  /** `by-name`: a claim of the namespace and name that an orphaned volume was made for gets that volume */
  readonly adopt: 'never' | 'by-name';
  /** sound, and read by `parseNodeLoss` where it counts */
  readonly onNodeLoss: string;
  /** whether ROX and RWX are served, by keeping all pods on the volume's node */
  readonly sharing: 'none' | 'node';
  /** whether a copy of a volume in use may mix several moments, where the pool has nothing better */
  readonly consistency: 'refuse' | 'accept';
}

/** What deleting a volume does to its data. */
export const onDeletes = ['delete', 'scrub', 'archive'] as const;
export type OnDelete = (typeof onDeletes)[number];

export type ScrubMethod = 'zero' | 'random' | 'discard';

/** Keys of the class that Kubernetes or Loam's own loop add and that say nothing about the volume's shape. */
export const metadataKeys = {
  claimName: 'csi.storage.k8s.io/pvc/name',
  claimNamespace: 'csi.storage.k8s.io/pvc/namespace',
  volumeName: 'csi.storage.k8s.io/pv/name',
  fsType: 'csi.storage.k8s.io/fstype',
  claimUid: 'loam.dev/claim-uid',
  clusterUid: 'loam.dev/cluster-uid',
  className: 'loam.dev/class-name',
} as const;

const parsers: Record<string, (text: string) => Partial<ClassParameters>> = {
  backend: (text) => ({ backend: backendOf(text) }),
  pool: (text) => ({ pool: nonEmpty('pool', text) }),
  provisioning: (text) => ({ provisioning: oneOf('provisioning', text, ['thin', 'thick']) }),
  limit: (text) => ({ limit: oneOf('limit', text, ['enforced', 'advisory']) }),
  mode: (text) => ({ mode: permissionBits(text) }),
  uid: (text) => ({ uid: ownerId('uid', text) }),
  gid: (text) => ({ gid: ownerId('gid', text) }),
  onDelete: (text) => ({ onDelete: oneOf('onDelete', text, onDeletes) }),
  scrub: (text) => ({ scrub: oneOf('scrub', text, ['zero', 'random', 'discard']) }),
  retainFor: (text) => ({ retainForMs: duration('retainFor', text) }),
  onRelease: (text) => ({ onRelease: oneOf('onRelease', text, ['keep', 'recycle']) }),
  adopt: (text) => ({ adopt: oneOf('adopt', text, ['never', 'by-name']) }),
  onNodeLoss: (text) => {
    parseNodeLoss(text);
    return { onNodeLoss: text };
  },
  sharing: (text) => ({ sharing: oneOf('sharing', text, ['none', 'node']) }),
  consistency: (text) => ({ consistency: oneOf('consistency', text, ['refuse', 'accept']) }),
  [metadataKeys.fsType]: (text) =>
    text === '' ? {} : { fsType: oneOf('csi.storage.k8s.io/fstype', text, fsTypes) },
};

export const fsTypes = ['ext4', 'xfs', 'btrfs'] as const satisfies readonly FsType[];

/** The parameter names that a class may use, for messages and docs. */
export const knownParameters: readonly string[] = Object.keys(parsers);

/**
 * Reads a class's parameters, or those of a CreateVolume or GetCapacity request.
 *
 * Keys under `csi.storage.k8s.io/` other than the file system, and the metadata that the loop adds, are passed over:
 * GetCapacity is asked with the class's raw parameters, CreateVolume with the stripped ones.
 * @throws StorageError 'invalid-parameter', naming the key, what it says and what it may say
 */
export function parseClassParameters(parameters: Readonly<Record<string, string>>): ClassParameters {
  let parsed: ClassParameters = {
    backend: 'auto',
    provisioning: 'thin',
    limit: 'enforced',
    onDelete: 'delete',
    scrub: 'zero',
    retainForMs: 0,
    onRelease: 'keep',
    adopt: 'never',
    onNodeLoss: 'keep',
    sharing: 'none',
    consistency: 'refuse',
  };
  for (const [key, text] of Object.entries(parameters)) {
    const parse = Object.hasOwn(parsers, key) ? parsers[key] : undefined;
    if (parse !== undefined) parsed = { ...parsed, ...parse(text) };
    else if (!isMetadata(key)) throw unknownParameter(key);
  }
  if ('scrub' in parameters && parsed.onDelete !== 'scrub') {
    throw invalid(`scrub: ${parsed.scrub} does nothing without onDelete: scrub; add it or remove scrub`);
  }
  if (parsed.onRelease === 'recycle' && parsed.retainForMs > 0) {
    throw invalid('retainFor keeps a released volume and onRelease: recycle empties it; remove one of them');
  }
  if (parsed.backend === 'directory' && parsed.provisioning === 'thick') {
    throw invalid('provisioning: thick needs an image; use backend: loopback or remove provisioning');
  }
  return parsed;
}

function isMetadata(key: string): boolean {
  return key.startsWith('csi.storage.k8s.io/') || (Object.values(metadataKeys) as string[]).includes(key);
}

function unknownParameter(key: string): StorageError {
  return invalid(`unknown class parameter ${JSON.stringify(key)}; known are ${knownParameters.join(', ')}`);
}

function invalid(message: string): StorageError {
  return new StorageError('invalid-parameter', message);
}

function oneOf<const T extends string>(key: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found === undefined) {
    throw invalid(`class parameter ${key} is ${JSON.stringify(text)}; it can be ${allowed.join(', ')}`);
  }
  return found;
}

function backendOf(text: string): ClassParameters['backend'] {
  if (text !== 'disk') return oneOf('backend', text, ['auto', ...madeBackends]);
  throw invalid(
    'class parameter backend is "disk", which nobody can ask for: mount disks in the discovery folder of a pool that has discover= for this class, and leave backend out; otherwise it can be ' +
      ['auto', ...madeBackends].join(', '),
  );
}

function nonEmpty(key: string, text: string): string {
  if (text === '') throw invalid(`class parameter ${key} is empty; name one or remove it`);
  return text;
}

function permissionBits(text: string): number {
  if (!/^0?[0-7]{3,4}$/.test(text)) {
    throw invalid(`class parameter mode is ${JSON.stringify(text)}; it takes octal bits such as "0770"`);
  }
  return Number.parseInt(text, 8);
}

function duration(key: string, text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw invalid(`class parameter ${key}: ${messageOf(error)}`);
  }
}

function ownerId(key: string, text: string): number {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(id <= 4294967294)) {
    throw invalid(
      `class parameter ${key} is ${JSON.stringify(text)}; it takes a number from 0 to 4294967294`,
    );
  }
  return id;
}
