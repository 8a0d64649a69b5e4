import { createHash } from 'node:crypto';
import type { ConfigMap, PersistentVolumeClaim } from '../kube/objects.ts';
import type { ClaimRef } from '../model/volume.ts';
import { tombstone as tombstoneLabel } from './annotations.ts';

/**
 * What was let go while its node was not there: a ConfigMap in Loam's namespace, written before anything is let go, so that whoever
 * comes after a crash goes on from it, and read by the node when it is back, which nothing else would tell that data of it is nobody's.
 */
export interface Tombstone {
  /** another installation may lie in the same namespace */
  readonly driverName: string;
  readonly volumeId: string;
  /** '' where the PV names no pool: then no disk is certain to be the right one */
  readonly poolUuid: string;
  /** the node, in our topology key */
  readonly topologyValue: string;
  /** the PV that stood for the data */
  readonly volumeName: string;
  readonly volumeUid: string;
  readonly claim: ClaimRef;
  readonly letGoAt: string;
  readonly why: string;
  /** whether its node is to destroy the data; not so where the PV's policy kept it */
  readonly mayErase: boolean;
  /** whether the claim is to be made anew, and how far that is */
  readonly recreation: 'none' | 'pending' | 'done';
  /** the claim as it is to be made anew; unset: it is not, or its owner makes it */
  readonly manifest?: PersistentVolumeClaim;
}

/** One a volume, whichever PV stands for it. */
export function tombstoneName({
  driverName,
  volumeId,
  poolUuid,
}: Pick<Tombstone, 'driverName' | 'volumeId' | 'poolUuid'>): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([driverName, volumeId, poolUuid]))
    .digest('hex');
  return `loam-tombstone-${hash.slice(0, 24)}`;
}

export function buildTombstone(stone: Tombstone, namespace: string): ConfigMap {
  return {
    metadata: {
      name: tombstoneName(stone),
      namespace,
      labels: { [tombstoneLabel]: stone.topologyValue },
    },
    data: {
      driver: stone.driverName,
      volumeId: stone.volumeId,
      poolUuid: stone.poolUuid,
      persistentVolume: stone.volumeName,
      persistentVolumeUid: stone.volumeUid,
      claimNamespace: stone.claim.namespace,
      claimName: stone.claim.name,
      claimUid: stone.claim.uid,
      letGoAt: stone.letGoAt,
      why: stone.why,
      erase: stone.mayErase ? 'yes' : 'no',
      recreate: stone.recreation === 'none' ? 'no' : stone.recreation,
      ...(stone.manifest === undefined ? {} : { claim: JSON.stringify(stone.manifest) }),
    },
  };
}

/** Strict, since data is destroyed by it: undefined where a single field is missing or is not what was written. */
export function readTombstone({ metadata, data = {} }: ConfigMap): Tombstone | undefined {
  const read = (key: string): string => data[key] ?? '';
  const topologyValue = metadata.labels?.[tombstoneLabel] ?? '';
  const [driverName, volumeId, poolUuid] = [read('driver'), read('volumeId'), read('poolUuid')];
  const claim = { namespace: read('claimNamespace'), name: read('claimName'), uid: read('claimUid') };
  const needed = [
    driverName,
    volumeId,
    topologyValue,
    read('persistentVolume'),
    read('persistentVolumeUid'),
    claim.uid,
  ];
  if (needed.includes('') || metadata.name !== tombstoneName({ driverName, volumeId, poolUuid }))
    return undefined;
  const recreation = recreations.get(read('recreate'));
  const erase = read('erase');
  if (recreation === undefined || (erase !== 'yes' && erase !== 'no')) return undefined;
  const manifest = data['claim'] === undefined ? undefined : readManifest(data['claim'], claim);
  if (data['claim'] !== undefined && manifest === undefined) return undefined;
  return {
    driverName,
    volumeId,
    poolUuid,
    topologyValue,
    volumeName: read('persistentVolume'),
    volumeUid: read('persistentVolumeUid'),
    claim,
    letGoAt: read('letGoAt'),
    why: read('why'),
    mayErase: erase === 'yes' && poolUuid !== '',
    recreation,
    ...(manifest === undefined ? {} : { manifest }),
  };
}

const recreations = new Map([
  ['no', 'none'],
  ['pending', 'pending'],
  ['done', 'done'],
] as const) as ReadonlyMap<string, Tombstone['recreation']>;

/** Only ever of the very claim that the tombstone is about. */
function readManifest(text: string, claim: ClaimRef): PersistentVolumeClaim | undefined {
  try {
    const parsed = JSON.parse(text) as Partial<PersistentVolumeClaim> | null;
    const { metadata, spec } = parsed ?? {};
    if (metadata?.namespace !== claim.namespace || metadata.name !== claim.name) return undefined;
    return typeof spec === 'object' ? { metadata, spec } : undefined;
  } catch {
    return undefined;
  }
}
