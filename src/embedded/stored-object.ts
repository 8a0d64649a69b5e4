import type { KubeObject, ObjectMeta } from '../kube/objects.ts';

/** Metadata once the API has taken an object in. */
export interface StoredMeta extends ObjectMeta {
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
  deletionGracePeriodSeconds?: number;
}

/** An object as it is kept: frozen, so that readers may share it, and replaced as a whole by the next write. */
export interface StoredObject extends KubeObject {
  metadata: StoredMeta;
  spec?: unknown;
  status?: unknown;
}

const texts = new WeakMap<object, string>();

/** The object's JSON, made once for all watches and lists that send it. */
export function jsonOf(object: StoredObject): string {
  let text = texts.get(object);
  if (text === undefined) texts.set(object, (text = JSON.stringify(object)));
  return text;
}

const itemTexts = new WeakMap<object, string>();

/** The same for a list, whose items do not repeat the kind. */
export function itemJsonOf(object: StoredObject): string {
  let text = itemTexts.get(object);
  if (text === undefined) {
    const { apiVersion: _, kind: __, ...rest } = object;
    itemTexts.set(object, (text = JSON.stringify(rest)));
  }
  return text;
}

/** A copy that is free to be changed, without `undefined` members: what would have gone over the wire. */
export function wireCopy<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
