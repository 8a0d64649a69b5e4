import { isDeepStrictEqual } from 'node:util';
import { ApiFailure, badRequest } from './api-failure.ts';
import { wireCopy } from './stored-object.ts';

export type JsonMap = { [field: string]: unknown };

export function isMap(value: unknown): value is JsonMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** RFC 7386: null removes, maps merge, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return wireCopy(patch);
  const result: JsonMap = isMap(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete result[field];
    else result[field] = mergePatch(result[field], value);
  }
  return result;
}

/**
 * RFC 6902.
 * @throws ApiFailure 422 where a step does not apply (a `test` that fails, a path that is not there)
 */
export function jsonPatch(target: unknown, steps: unknown): unknown {
  if (!Array.isArray(steps)) throw badRequest('a JSON patch is a list of steps');
  let document: unknown = wireCopy(target);
  for (const step of steps) {
    if (!isMap(step) || typeof step['path'] !== 'string')
      throw badRequest('a step of a JSON patch needs op and path');
    document = applyStep(document, step, step['path']);
  }
  return document;
}

function applyStep(document: unknown, step: JsonMap, path: string): unknown {
  const from = typeof step['from'] === 'string' ? step['from'] : '';
  switch (step['op']) {
    case 'add':
      return put(document, path, wireCopy(step['value']), 'add');
    case 'replace':
      read(document, path);
      return put(document, path, wireCopy(step['value']), 'replace');
    case 'remove':
      return take(document, path);
    case 'move': {
      const moved = read(document, from);
      return put(take(document, from), path, moved, 'add');
    }
    case 'copy':
      return put(document, path, wireCopy(read(document, from)), 'add');
    case 'test':
      if (!isDeepStrictEqual(read(document, path), step['value'])) throw rejected(`test of ${path} failed`);
      return document;
    default:
      throw badRequest(`unexpected op ${JSON.stringify(step['op'])} in a JSON patch`);
  }
}

function pointerOf(path: string): string[] {
  if (path === '') return [];
  if (!path.startsWith('/')) throw rejected(`${path} is no JSON pointer`);
  const names = path.slice(1).split('/');
  return names.map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function read(document: unknown, path: string): unknown {
  let value = document;
  for (const name of pointerOf(path)) {
    if (Array.isArray(value) && /^\d+$/.test(name) && Number(name) < value.length)
      value = value[Number(name)] as unknown;
    else if (isMap(value) && Object.hasOwn(value, name)) value = value[name];
    else throw rejected(`nothing at ${path}`);
  }
  return value;
}

function put(document: unknown, path: string, value: unknown, how: 'add' | 'replace'): unknown {
  const names = pointerOf(path);
  const last = names.pop();
  if (last === undefined) return value;
  const holder = read(document, pathOf(names));
  if (isMap(holder)) holder[last] = value;
  else if (Array.isArray(holder)) {
    const index = last === '-' ? holder.length : Number(last);
    if (!(Number.isInteger(index) && index >= 0 && index <= holder.length))
      throw rejected(`no index ${last} at ${path}`);
    holder.splice(index, how === 'add' ? 0 : 1, value);
  } else throw rejected(`nothing can be put at ${path}`);
  return document;
}

function take(document: unknown, path: string): unknown {
  read(document, path);
  const names = pointerOf(path);
  const last = names.pop() ?? '';
  const holder = read(document, pathOf(names));
  if (Array.isArray(holder)) holder.splice(Number(last), 1);
  else if (isMap(holder)) delete holder[last];
  return document;
}

function pathOf(names: readonly string[]): string {
  return names.map((name) => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

function rejected(why: string): ApiFailure {
  return new ApiFailure(
    422,
    'Invalid',
    `the server rejected our request due to an error in our request: ${why}`,
    {},
  );
}
