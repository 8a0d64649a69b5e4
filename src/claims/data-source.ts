import { snapshotGroup } from '../kube/kinds.ts';
import type { PersistentVolumeClaim, TypedReference } from '../kube/objects.ts';
import { dataSourceOf } from './claim-facts.ts';

/** What a volume is to be made of: in the claim's own namespace, of a kind that this driver serves. */
export interface SourceRef {
  readonly kind: 'snapshot' | 'claim';
  readonly namespace: string;
  readonly name: string;
}

export type DataSource =
  | { readonly kind: 'empty' }
  /** somebody else fills the volume */
  | { readonly kind: 'populator'; readonly objectKind: string }
  | { readonly kind: 'unusable'; readonly reason: string }
  | SourceRef;

/** What an object of a cluster may be called; anything else is looked for in vain, and does not belong in a path. */
const objectName = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Where a claim's first data comes from, as far as the claim itself tells. */
export function readDataSource(claim: PersistentVolumeClaim): DataSource {
  const source = dataSourceOf(claim);
  if (source === undefined) return { kind: 'empty' };
  const { dataSourceRef: ref } = claim.spec;
  // the API server does not let them
  if (ref !== undefined && ref !== source && describeReference(ref) !== describeReference(source))
    return unusable('dataSource and dataSourceRef name different objects');
  const { kind, name } = source;
  const group = source.apiGroup ?? '';
  const isSnapshot = kind === 'VolumeSnapshot' && group === snapshotGroup;
  const isClaim = kind === 'PersistentVolumeClaim' && group === '';
  if (!isSnapshot && !isClaim) return { kind: 'populator', objectKind: kind };
  const namespace = claim.metadata.namespace ?? '';
  if (name === '') return unusable(`the data source of kind ${kind} has no name`);
  if (!objectName.test(name)) return unusable(`${JSON.stringify(name)} cannot be the name of a ${kind}`);
  if ((source.namespace ?? namespace) !== namespace) {
    return unusable(
      `the data source ${source.namespace}/${name} is in another namespace; copy it into this one first`,
    );
  }
  return { kind: isSnapshot ? 'snapshot' : 'claim', namespace, name };
}

/** Whether a claim has no volume yet and is to be made of this. */
export function isToBeMadeOf(claim: PersistentVolumeClaim, ref: SourceRef): boolean {
  if (claim.status?.phase === 'Bound') return false;
  const source = readDataSource(claim);
  return (
    source.kind === ref.kind &&
    'name' in source &&
    source.name === ref.name &&
    source.namespace === ref.namespace
  );
}

/** `snapshot shop/monday`, as messages name it. */
export function describeSource({ kind, namespace, name }: SourceRef): string {
  return `${kind} ${namespace}/${name}`;
}

function describeReference({ apiGroup, kind, namespace, name }: TypedReference): string {
  return JSON.stringify([apiGroup ?? '', kind, namespace ?? '', name]);
}

function unusable(reason: string): DataSource {
  return { kind: 'unusable', reason };
}
