import { apiVersionOf, type KindName, type Kinds } from '../kube/kinds.ts';
import type { ObjectKey } from '../kube/kube-api.ts';
import type { Pod } from '../kube/objects.ts';
import { ApiFailure, badRequest, invalid, pathNotFound } from './api-failure.ts';
import type { Lists } from './lists.ts';
import type { ObjectStorage, WriteOptions } from './object-storage.ts';
import { isMap, jsonPatch, mergePatch, type JsonMap } from './patches.ts';
import { methodNotAllowed, objectBody, type ResourceRequest } from './request.ts';
import { itemJsonOf, jsonOf, type StoredObject } from './stored-object.ts';
import { strategicPatch } from './strategic-patch.ts';

/** What goes out: objects stay objects, so that the server can still make a Table of them. */
export type Answer =
  | { readonly kind: 'object'; readonly status: number; readonly object: StoredObject }
  | { readonly kind: 'list'; readonly items: readonly StoredObject[]; readonly metadata: object }
  | { readonly kind: 'status'; readonly name: string; readonly uid?: string };

/** Does what a request that is no watch asks for. @throws ApiFailure */
export function answerRequest(
  parts: { readonly storage: ObjectStorage; readonly lists: Lists },
  request: ResourceRequest,
  body: unknown,
  contentType: string,
): Answer {
  const { resource, verb, name, subresource } = request;
  const { kind } = resource;
  if (subresource !== undefined) {
    if (kind === 'Pod' && subresource === 'binding' && verb === 'create')
      return bindPod(parts.storage, request, body);
    if (subresource !== 'status' || !resource.hasStatus)
      throw noSuchSubresource(resource.plural, subresource);
    if (verb === 'create' || verb === 'delete') throw methodNotAllowed();
  }
  if (name === undefined) return answerCollection(parts, request, body);
  const key = keyOf(request, name);
  const options = writeOptions(request);
  switch (verb) {
    case 'get':
      return objectAnswer(parts.storage.get(kind, key));
    case 'update': {
      const object = objectBody(body, request) as unknown as Kinds[KindName];
      return objectAnswer(parts.storage.update(kind, key, () => object as never, options));
    }
    case 'patch':
      return patch(parts.storage, request, key, body, contentType, options);
    case 'delete': {
      const removed = parts.storage.remove(kind, key, removeOptions(request, body));
      const isGone = parts.storage.find(kind, key) === undefined;
      return isGone && !resource.returnsDeleted
        ? {
            kind: 'status',
            name,
            ...(removed.metadata.uid === undefined ? {} : { uid: removed.metadata.uid }),
          }
        : objectAnswer(removed);
    }
    default:
      throw methodNotAllowed();
  }
}

function answerCollection(
  parts: { storage: ObjectStorage; lists: Lists },
  request: ResourceRequest,
  body: unknown,
): Answer {
  const { kind } = request.resource;
  switch (request.verb) {
    case 'list':
      return { kind: 'list', ...parts.lists.page(request) };
    case 'create': {
      if (request.resource.namespaced && request.namespace === undefined) throw methodNotAllowed();
      const object = objectBody(body, request) as unknown as Kinds[KindName];
      return objectAnswer(parts.storage.create(kind, object, writeOptions(request)), 201);
    }
    case 'delete': {
      const { items, metadata } = parts.lists.page(request);
      for (const { metadata: key } of items) parts.storage.remove(kind, key, removeOptions(request, body));
      return { kind: 'list', items, metadata };
    }
    default:
      throw methodNotAllowed();
  }
}

function patch(
  storage: ObjectStorage,
  request: ResourceRequest,
  key: ObjectKey,
  body: unknown,
  contentType: string,
  options: WriteOptions,
): Answer {
  const { kind } = request.resource;
  const apply = patchers[contentType];
  if (apply === undefined) {
    throw new ApiFailure(
      415,
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - accepted media types include: ${Object.keys(patchers).join(', ')}`,
      {},
    );
  }
  if (contentType === applyType && storage.find(kind, key) === undefined) {
    const object = objectBody(body, request) as unknown as Kinds[KindName];
    return objectAnswer(storage.create(kind, object, options), 201);
  }
  if (contentType !== 'application/json-patch+json' && !isMap(body))
    throw badRequest('the patch has to be an object');
  const change = (current: unknown): never => {
    const patched = apply(current, body);
    if (!isMap(patched) || !isMap(patched['metadata']))
      throw invalid(request.resource, key.name, [
        { reason: 'FieldValueRequired', message: 'Required value', field: 'metadata' },
      ]);
    return patched as never;
  };
  return objectAnswer(storage.update(kind, key, change, { ...options, isPatch: true }));
}

const applyType = 'application/apply-patch+yaml';

const patchers: Readonly<Record<string, (current: unknown, body: unknown) => unknown>> = {
  'application/json-patch+json': jsonPatch,
  'application/merge-patch+json': mergePatch,
  'application/strategic-merge-patch+json': strategicPatch,
  // without managed fields there is nobody to conflict with: what is applied is merged in
  [applyType]: (current, body) => strategicPatch(current, isMap(body) ? withoutVersion(body) : body),
};

function withoutVersion(body: JsonMap): JsonMap {
  const { status: _, ...rest } = body;
  return rest;
}

function bindPod(storage: ObjectStorage, request: ResourceRequest, body: unknown): Answer {
  const target = isMap(body) && isMap(body['target']) ? body['target']['name'] : undefined;
  if (typeof target !== 'string') throw badRequest('a binding names its node in target.name');
  const key = keyOf(request, request.name ?? '');
  storage.update('Pod', key, (pod: Pod) => ({ ...pod, spec: { ...pod.spec, nodeName: target } }));
  return { kind: 'status', name: key.name };
}

function keyOf(request: ResourceRequest, name: string): ObjectKey {
  if (!request.resource.namespaced) return { name };
  if (request.namespace === undefined) throw pathNotFound();
  return { namespace: request.namespace, name };
}

function writeOptions(request: ResourceRequest): WriteOptions {
  return {
    subresource: request.subresource === 'status' ? 'status' : undefined,
    isDryRun: request.query.get('dryRun') === 'All',
  };
}

function removeOptions(request: ResourceRequest, body: unknown): Parameters<ObjectStorage['remove']>[2] {
  const options = isMap(body) ? body : {};
  const { uid, resourceVersion } = (options['preconditions'] ?? {}) as {
    uid?: string;
    resourceVersion?: string;
  };
  const asked = options['gracePeriodSeconds'] ?? request.query.get('gracePeriodSeconds');
  return {
    uid,
    resourceVersion,
    gracePeriodSeconds: asked === null || asked === undefined ? undefined : Number(asked),
    isDryRun: request.query.get('dryRun') === 'All',
  };
}

function noSuchSubresource(plural: string, subresource: string): ApiFailure {
  return new ApiFailure(
    404,
    'NotFound',
    `the server could not find ${plural}/${subresource}: this control plane runs no containers`,
    {},
  );
}

function objectAnswer(object: unknown, status = 200): Answer {
  return { kind: 'object', status, object: object as StoredObject };
}

/** The JSON of an answer that is no Table. */
export function answerText(answer: Answer, request: ResourceRequest): string {
  const { kind } = request.resource;
  switch (answer.kind) {
    case 'object':
      return jsonOf(answer.object);
    case 'list': {
      const head = JSON.stringify({
        kind: `${kind}List`,
        apiVersion: apiVersionOf(kind),
        metadata: answer.metadata,
      }).slice(0, -1);
      return `${head},"items":[${answer.items.map(itemJsonOf).join(',')}]}`;
    }
    case 'status': {
      const { plural, group } = request.resource;
      const details = {
        name: answer.name,
        ...(group === '' ? {} : { group }),
        kind: plural,
        uid: answer.uid,
      };
      return JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
    }
  }
}
