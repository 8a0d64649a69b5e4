import { columnsOf } from './table-columns.ts';
import type { Resource } from './resources.ts';
import { wireCopy, type StoredObject } from './stored-object.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** A list or one object as the Table that `kubectl get` prints. */
export function tableOf(
  resource: Resource,
  objects: readonly StoredObject[],
  options: {
    readonly nowMs: number;
    readonly include: IncludeObject;
    readonly listMeta: object;
    /** a watch describes the columns in its first Table only */
    readonly withColumns?: boolean;
  },
): object {
  const columns = columnsOf(resource.kind);
  const definitions = columns.map(({ name, priority, isName }) => ({
    name,
    type: 'string',
    format: isName === true ? 'name' : '',
    description: '',
    priority,
  }));
  const rows = objects.map((object) => ({
    cells: columns.map((column) => column.cell(object as never, options.nowMs)),
    object: rowObject(object, options.include),
  }));
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: options.listMeta,
    columnDefinitions: options.withColumns === false ? null : definitions,
    rows,
  };
}

function rowObject(object: StoredObject, include: IncludeObject): object | null {
  if (include === 'None') return null;
  if (include === 'Object') return object;
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: wireCopy(object.metadata) };
}
