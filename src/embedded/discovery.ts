import { resources, type Resource } from './resources.ts';

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** Version of Kubernetes whose behaviour is imitated; kubectl compares it with its own. */
const imitatedVersion = { major: '1', minor: '36', gitVersion: 'v1.36.0-loam-embedded' };

/** Answers the paths by which clients find out what is served, or undefined for any other path. */
export function discover(path: string): object | undefined {
  const trimmed = path.replace(/\/$/, '');
  if (trimmed === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
  if (trimmed === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups().map(groupOf) };
  if (trimmed === '/version')
    return {
      ...imitatedVersion,
      gitCommit: '',
      gitTreeState: '',
      buildDate: '',
      goVersion: '',
      compiler: '',
      platform: '',
    };
  if (trimmed === '/openapi/v3')
    return {
      paths: Object.fromEntries(
        groupVersions().map((name) => [name, { serverRelativeURL: `/openapi/v3/${name}` }]),
      ),
    };
  const document = /^\/openapi\/v3\/(.+)$/.exec(trimmed)?.[1];
  if (document !== undefined && groupVersions().includes(document)) return openApiOf(document);
  const group = /^\/apis\/([^/]+)$/.exec(trimmed)?.[1];
  if (group !== undefined && groups().includes(group))
    return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(group) };
  const served = resources.filter((resource) => `/${prefixOf(resource)}` === trimmed);
  return served.length === 0 ? undefined : resourceListOf(served);
}

function groups(): string[] {
  return [...new Set(resources.map(({ group }) => group))].filter((group) => group !== '');
}

/** `api/v1`, `apis/storage.k8s.io/v1` */
function groupVersions(): string[] {
  return [...new Set(resources.map(prefixOf))];
}

function prefixOf({ group, version }: Resource): string {
  return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}

function groupOf(name: string): object {
  const versions = [
    ...new Set(resources.filter(({ group }) => group === name).map(({ version }) => version)),
  ];
  const entries = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }));
  return { name, versions: entries, preferredVersion: entries[0] };
}

function resourceListOf(served: readonly Resource[]): object {
  const [{ group, version } = { group: '', version: '' }] = served;
  const entries = served.flatMap((resource) => {
    const { plural, singular, kind, namespaced, shortNames } = resource;
    const main = {
      name: plural,
      singularName: singular,
      namespaced,
      kind,
      verbs,
      ...(shortNames.length === 0 ? {} : { shortNames }),
    };
    const status = {
      name: `${plural}/status`,
      singularName: '',
      namespaced,
      kind,
      verbs: ['get', 'patch', 'update'],
    };
    return resource.hasStatus ? [main, status] : [main];
  });
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources: entries,
  };
}

/**
 * The least document with which `kubectl apply` works unasked: it looks for a PATCH of the kind that takes `fieldValidation`
 * (then it leaves validation to the server) and computes the patch of a built-in kind by itself.
 */
function openApiOf(prefix: string): object {
  const served = resources.filter((resource) => prefixOf(resource) === prefix);
  const query = (name: string): object => ({
    name,
    in: 'query',
    schema: { type: 'string', uniqueItems: true },
  });
  const paths = served.map((resource) => {
    const { group, version, kind, namespaced, plural } = resource;
    const patch = {
      operationId: `patch${kind}`,
      parameters: [query('dryRun'), query('fieldManager'), query('fieldValidation'), query('force')],
      requestBody: { content: { 'application/merge-patch+json': { schema: { type: 'object' } } } },
      responses: { '200': { description: 'OK' } },
      'x-kubernetes-action': 'patch',
      'x-kubernetes-group-version-kind': { group, version, kind },
    };
    const entry: [string, object] = [
      `/${prefix}/${namespaced ? 'namespaces/{namespace}/' : ''}${plural}/{name}`,
      { patch },
    ];
    return entry;
  });
  return {
    openapi: '3.0.0',
    info: { title: 'Loam, embedded control plane', version: imitatedVersion.gitVersion },
    paths: Object.fromEntries(paths),
    components: { schemas: {} },
  };
}
