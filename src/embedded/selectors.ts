import type { Pod, KubeEvent, Namespace } from '../kube/objects.ts';
import type { Resource } from './resources.ts';
import { badRequest } from './api-failure.ts';
import type { StoredObject } from './stored-object.ts';

export type Predicate = (object: StoredObject) => boolean;

/** What a list or watch asks for, as one predicate. @throws ApiFailure 400 on a selector that nobody can read */
export function parseSelectors(
  resource: Resource,
  asked: {
    readonly namespace?: string | undefined;
    readonly labelSelector?: string | undefined;
    readonly fieldSelector?: string | undefined;
  },
): Predicate {
  const label = parseLabelSelector(asked.labelSelector ?? '');
  const field = parseFieldSelector(resource, asked.fieldSelector ?? '');
  return (object) =>
    (asked.namespace === undefined || object.metadata.namespace === asked.namespace) &&
    label(object.metadata.labels ?? {}) &&
    field(object);
}

type LabelTest = (labels: Readonly<Record<string, string>>) => boolean;

/** `a=b,c!=d,e in (f,g),h notin (i),j,!k` */
export function parseLabelSelector(text: string): LabelTest {
  const tests = splitOutsideParentheses(text).map(labelTest);
  return (labels) => tests.every((test) => test(labels));
}

function labelTest(term: string): LabelTest {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(term);
  if (set !== null) {
    const [, key = '', operator, list = ''] = set;
    const values = list.split(',').map((value) => value.trim());
    return (labels) => {
      const value = labels[key];
      return operator === 'in'
        ? value !== undefined && values.includes(value)
        : value === undefined || !values.includes(value);
    };
  }
  const [, key = '', operator = '', value = ''] =
    /^(!?[\w./-]+)\s*(==|=|!=)?\s*([\w./-]*)$/.exec(term) ?? unreadable(term);
  if (operator === '')
    return key.startsWith('!') ? (labels) => !(key.slice(1) in labels) : (labels) => key in labels;
  return operator === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
}

function unreadable(term: string): never {
  throw badRequest(`unable to parse requirement: ${JSON.stringify(term)}`);
}

function splitOutsideParentheses(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== '');
}

function parseFieldSelector(resource: Resource, text: string): Predicate {
  const tests = text
    .split(',')
    .filter((term) => term !== '')
    .map((term) => fieldTest(resource, term));
  return (object) => tests.every((test) => test(object));
}

function fieldTest(resource: Resource, term: string): Predicate {
  const [, field = '', operator = '', value = ''] =
    /^([\w.]+)(==|=|!=)(.*)$/.exec(term) ?? unreadableField(term);
  const read = fieldReader(resource, field);
  return (object) => (read(object) === value) === (operator !== '!=');
}

function unreadableField(term: string): never {
  throw badRequest(`invalid selector: '${term}'; can't understand '${term}'`);
}

const involvedFields = new Set([
  'kind',
  'namespace',
  'name',
  'uid',
  'apiVersion',
  'resourceVersion',
  'fieldPath',
]);

function fieldReader(resource: Resource, field: string): (object: StoredObject) => string {
  if (field === 'metadata.name') return (object) => object.metadata.name;
  if (field === 'metadata.namespace' && resource.namespaced)
    return (object) => object.metadata.namespace ?? '';
  const [head = '', tail = ''] = field.split('.');
  if (resource.kind === 'Event') {
    if (head === 'involvedObject' && involvedFields.has(tail)) {
      return (object) => textMember((object as unknown as KubeEvent).involvedObject, tail);
    }
    if (field === 'reason' || field === 'type') return (object) => textMember(object, field);
    if (field === 'reportingComponent' || field === 'source') {
      return (object) =>
        (object as unknown as KubeEvent).source?.component ?? textMember(object, 'reportingComponent');
    }
  }
  if (resource.kind === 'Pod' && field === 'spec.nodeName')
    return (object) => (object as Pod).spec?.nodeName ?? '';
  if ((resource.kind === 'Pod' || resource.kind === 'Namespace') && field === 'status.phase') {
    return (object) => (object as Pod | Namespace).status?.phase ?? '';
  }
  throw badRequest(`field label not supported: ${field}`);
}

function textMember(holder: object, name: string): string {
  const value: unknown = (holder as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : '';
}
