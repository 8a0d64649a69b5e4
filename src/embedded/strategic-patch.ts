import { isMap, type JsonMap } from './patches.ts';
import { wireCopy } from './stored-object.ts';

/** Lists that merge item by item, by the field that names an item; '' where the items are plain values. Other lists are replaced. */
const mergeKeys: Readonly<Record<string, string>> = {
  finalizers: '',
  ownerReferences: 'uid',
  containers: 'name',
  initContainers: 'name',
  ephemeralContainers: 'name',
  volumes: 'name',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  env: 'name',
  ports: 'containerPort',
  imagePullSecrets: 'name',
  hostAliases: 'ip',
  taints: 'key',
  conditions: 'type',
  addresses: 'type',
};

/**
 * Kubernetes' strategic merge: as a merge patch, but the lists above merge by key, and the directives
 * `$patch`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…` and `$retainKeys` are obeyed.
 */
export function strategicPatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return wireCopy(patch);
  if (patch['$patch'] === 'replace') return withoutDirectives(patch);
  const result: JsonMap = isMap(target) ? { ...target } : {};
  const kept = patch['$retainKeys'];
  if (Array.isArray(kept)) {
    for (const field of Object.keys(result)) if (!kept.includes(field)) delete result[field];
  }
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith('$')) continue;
    if (value === null) delete result[field];
    else if (Array.isArray(value) && field in mergeKeys)
      result[field] = mergeList(result[field], value, mergeKeys[field] ?? '');
    else result[field] = strategicPatch(result[field], value);
  }
  applyListDirectives(result, patch);
  return result;
}

function mergeList(current: unknown, patch: readonly unknown[], key: string): unknown[] {
  const live: unknown[] = Array.isArray(current) ? (current as unknown[]) : [];
  if (key === '') return ordered([...new Set([...live, ...patch])], patch, live, key);
  if (patch.some((item) => isMap(item) && item['$patch'] === 'replace')) {
    return patch.filter((item) => !(isMap(item) && item['$patch'] === 'replace')).map(wireCopy);
  }
  const list = [...live];
  for (const item of patch) {
    if (!isMap(item)) continue;
    const index = list.findIndex((old) => isMap(old) && old[key] === item[key]);
    if (item['$patch'] === 'delete') {
      if (index !== -1) list.splice(index, 1);
    } else if (index === -1) list.push(strategicPatch({}, item));
    else list[index] = strategicPatch(list[index], item);
  }
  return ordered(list, patch, live, key);
}

function applyListDirectives(result: JsonMap, patch: JsonMap): void {
  for (const [directive, value] of Object.entries(patch)) {
    const field = directive.slice(directive.indexOf('/') + 1);
    const list: unknown = result[field];
    if (!Array.isArray(value) || !Array.isArray(list)) continue;
    if (directive.startsWith('$deleteFromPrimitiveList/')) {
      result[field] = list.filter((item: unknown) => !value.includes(item));
    } else if (directive.startsWith('$setElementOrder/')) {
      result[field] = ordered(list, value, list, mergeKeys[field] ?? '');
    }
  }
}

/**
 * The items that the patch speaks of in its order, the others in theirs; between the two decides the place that
 * both had before, and what is new goes first.
 */
function ordered(
  list: readonly unknown[],
  order: readonly unknown[],
  live: readonly unknown[],
  key: string,
): unknown[] {
  const nameOf = (item: unknown): unknown => (key !== '' && isMap(item) ? item[key] : item);
  const wanted = new Map(order.map((item, index) => [nameOf(item), index]));
  const before = new Map(live.map((item, index) => [nameOf(item), index]));
  const placeOf = (places: ReadonlyMap<unknown, number>, item: unknown): number =>
    places.get(nameOf(item)) ?? -1;
  const named = list
    .filter((item) => wanted.has(nameOf(item)))
    .sort((a, b) => placeOf(wanted, a) - placeOf(wanted, b));
  const others = list.filter((item) => !wanted.has(nameOf(item)));
  const result: unknown[] = [];
  for (const item of named) {
    while (others.length > 0 && placeOf(before, others[0]) < placeOf(before, item))
      result.push(others.shift());
    result.push(item);
  }
  return [...result, ...others];
}

function withoutDirectives(patch: JsonMap): JsonMap {
  return wireCopy(Object.fromEntries(Object.entries(patch).filter(([field]) => !field.startsWith('$'))));
}
