import { kinds, type KindName } from './kinds.ts';
import type { ListOptions, ObjectKey } from './kube-api.ts';

/** `/api/v1/namespaces/a/events`, `/apis/storage.k8s.io/v1/storageclasses`; without a namespace: all of them. */
export function collectionPath(kind: KindName, namespace?: string): string {
  const { group, version, plural, namespaced } = kinds[kind];
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  if (!namespaced || namespace === undefined) return `${root}/${plural}`;
  return `${root}/namespaces/${segment(kind, namespace)}/${plural}`;
}

/** Where an object of this name is created: in its namespace, which must be known. */
export function creationPath(kind: KindName, key: ObjectKey): string {
  if (kinds[kind].namespaced && key.namespace === undefined) {
    throw new TypeError(`${kind} ${key.name} needs a namespace`);
  }
  return collectionPath(kind, key.namespace);
}

export function objectPath(kind: KindName, key: ObjectKey, subresource?: 'status'): string {
  const path = `${creationPath(kind, key)}/${segment(kind, key.name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/** `?limit=500&labelSelector=a%3Db`, or nothing. */
export function queryText(options: ListOptions, more: Record<string, string>): string {
  const query = new URLSearchParams(more);
  if (options.labelSelector !== undefined) query.set('labelSelector', options.labelSelector);
  if (options.fieldSelector !== undefined) query.set('fieldSelector', options.fieldSelector);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

/** One component of a path: a name that is none would reach another resource. */
function segment(kind: KindName, name: string): string {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('%')) {
    throw new TypeError(`"${name}" is no name of a ${kind} or of its namespace`);
  }
  return encodeURIComponent(name);
}
