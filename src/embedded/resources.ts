import { kinds, type KindInfo, type KindName } from '../kube/kinds.ts';

/** A kind as the API serves it: its place in the paths and what discovery says of it. */
export interface Resource extends KindInfo {
  readonly kind: KindName;
  readonly singular: string;
  readonly shortNames: readonly string[];
  /** whether `…/status` exists, and with it the split between the two halves of an object */
  readonly hasStatus: boolean;
  /** whether DELETE answers with the object that went, instead of a Status */
  readonly returnsDeleted: boolean;
}

const extras: Partial<Record<KindName, Partial<Resource>>> = {
  PersistentVolumeClaim: { shortNames: ['pvc'], hasStatus: true },
  PersistentVolume: { shortNames: ['pv'], hasStatus: true },
  StorageClass: { shortNames: ['sc'] },
  Node: { shortNames: ['no'], hasStatus: true, returnsDeleted: false },
  Namespace: { shortNames: ['ns'], hasStatus: true },
  Event: { shortNames: ['ev'], returnsDeleted: false },
  CSIStorageCapacity: { returnsDeleted: false },
  Lease: { returnsDeleted: false },
  Pod: { shortNames: ['po'], hasStatus: true },
  VolumeSnapshot: { shortNames: ['vs'], hasStatus: true },
  VolumeSnapshotContent: { shortNames: ['vsc', 'vscs'], hasStatus: true },
  VolumeSnapshotClass: { shortNames: ['vsclass', 'vsclasses'] },
};

export const resources: readonly Resource[] = (Object.keys(kinds) as KindName[]).map((kind) => ({
  ...kinds[kind],
  kind,
  singular: kind.toLowerCase(),
  shortNames: [],
  hasStatus: false,
  returnsDeleted: true,
  ...extras[kind],
}));

const byKind = new Map(resources.map((resource) => [resource.kind, resource]));
const byPlace = new Map(
  resources.map((resource) => [placeOf(resource.group, resource.version, resource.plural), resource]),
);

export function resourceOf(kind: KindName): Resource {
  const found = byKind.get(kind);
  if (found === undefined) throw new TypeError(`kind ${kind} is in no table`);
  return found;
}

/** The resource that a path names, or undefined where this API serves none of that name. */
export function resourceAt(group: string, version: string, plural: string): Resource | undefined {
  return byPlace.get(placeOf(group, version, plural));
}

/** `persistentvolumes`, `storageclasses.storage.k8s.io`: how messages name a resource. */
export function qualifiedName(resource: KindInfo): string {
  return resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
}

function placeOf(group: string, version: string, plural: string): string {
  return `${group}/${version}/${plural}`;
}
