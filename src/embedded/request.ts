import type { IncomingMessage } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { apiVersionOf } from '../kube/kinds.ts';
import { ApiFailure, badRequest } from './api-failure.ts';
import type { Verb } from './faults.ts';
import { isMap, type JsonMap } from './patches.ts';
import { resourceAt, type Resource } from './resources.ts';

/** What a request's method, path and query say. */
export interface ResourceRequest {
  readonly resource: Resource;
  readonly verb: Verb;
  /** unset: all namespaces, or a cluster-wide kind */
  readonly namespace?: string;
  /** unset: the collection */
  readonly name?: string;
  readonly subresource?: string;
  readonly query: URLSearchParams;
}

/** Reads a path below /api/v1 or /apis/<group>/<version>; undefined where nothing of ours is there. */
export function parseRequest(method: string, url: URL): ResourceRequest | undefined {
  const parts = url.pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const isCore = parts[0] === 'api';
  if (!isCore && parts[0] !== 'apis') return undefined;
  const [group, version] = isCore ? ['', parts[1] ?? ''] : [parts[1] ?? '', parts[2] ?? ''];
  const rest = parts.slice(isCore ? 2 : 3);
  const inNamespace =
    rest[0] === 'namespaces' && rest.length > 2 && resourceAt(group, version, rest[2] ?? '') !== undefined;
  const [plural = '', name, subresource] = inNamespace ? rest.slice(2) : rest;
  const resource = resourceAt(group, version, plural);
  if (resource === undefined) return undefined;
  const isWatch =
    method === 'GET' && name === undefined && ['1', 'true'].includes(url.searchParams.get('watch') ?? '');
  const verb = isWatch ? 'watch' : verbOf(method, name !== undefined);
  if (verb === undefined) throw methodNotAllowed();
  return {
    resource,
    verb,
    ...(inNamespace && rest[1] !== undefined ? { namespace: rest[1] } : {}),
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
    query: url.searchParams,
  };
}

function verbOf(method: string, hasName: boolean): Verb | undefined {
  switch (method) {
    case 'GET':
      return hasName ? 'get' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return hasName ? 'update' : undefined;
    case 'PATCH':
      return hasName ? 'patch' : undefined;
    case 'DELETE':
      return 'delete';
    default:
      return undefined;
  }
}

export function methodNotAllowed(): ApiFailure {
  return new ApiFailure(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  );
}

const bodyLimitBytes = 3 * 1024 * 1024;

/** The body as JSON or YAML, by its content type; undefined where there is none. */
export async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > bodyLimitBytes)
      throw new ApiFailure(413, 'RequestEntityTooLarge', `limit is ${bodyLimitBytes}`);
    chunks.push(chunk);
  }
  if (sizeBytes === 0) return undefined;
  const type = contentTypeOf(request);
  if (type.includes('protobuf') || type.includes('cbor')) {
    throw new ApiFailure(415, 'UnsupportedMediaType', `the body is ${type}; this server reads JSON and YAML`);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    return type.includes('yaml') ? (parseYaml(text) as unknown) : (JSON.parse(text) as unknown);
  } catch (error) {
    throw badRequest(`the body cannot be read: ${String(error)}`);
  }
}

export function contentTypeOf(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim() ?? '';
}

/** A body that is to become an object: of the path's kind, namespace and name. */
export function objectBody(body: unknown, request: ResourceRequest): JsonMap & { metadata: JsonMap } {
  const { resource, namespace, name } = request;
  if (!isMap(body)) throw badRequest(`a body of kind ${resource.kind} is expected`);
  const metadata = isMap(body['metadata']) ? body['metadata'] : {};
  const apiVersion = apiVersionOf(resource.kind);
  const isOther =
    (body['kind'] ?? resource.kind) !== resource.kind || (body['apiVersion'] ?? apiVersion) !== apiVersion;
  if (isOther) {
    throw badRequest(
      `${JSON.stringify(body['kind'])} in the body is not what this path takes: ${apiVersion} ${resource.kind}`,
    );
  }
  if (namespace !== undefined && (metadata['namespace'] ?? namespace) !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  if (name !== undefined && (metadata['name'] ?? name) !== name) {
    throw badRequest(
      `the name of the object (${String(metadata['name'])}) does not match the name on the URL (${name})`,
    );
  }
  const placed = namespace === undefined ? metadata : { ...metadata, namespace };
  return { ...body, metadata: name === undefined ? placed : { ...placed, name } };
}
