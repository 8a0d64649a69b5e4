import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { apiVersionOf, kinds, type KindName } from '../../src/kube/kinds.ts';
import { manifestPath, renderChart } from '../support/chart.ts';
import { whyNoGo } from '../support/go-tools.ts';
import { ofKind, parseManifests, type PolicyRule } from '../support/manifests.ts';
import { sourcesBelow } from '../support/source-files.ts';

const noGo = await whyNoGo();
const verbs = { get: 'get', list: 'list', create: 'create', patch: 'patch', remove: 'delete' } as const;
/** What is asked for in the accounts' own namespace only. */
const inOwnNamespace =
  /^(storage\.k8s\.io\/csistoragecapacities|coordination\.k8s\.io\/leases|\/configmaps) /;

/** What each process is made of; the rest of src/ speaks to the embedded control plane, or to no API server. */
const programs = {
  'loam-node': sourcesOf('provisioner', 'claims', 'kube', 'observe', 'roles').filter(
    ({ path }) => !path.startsWith('src/kube/lease-'),
  ),
  'loam-controller': sourcesOf('placement', 'claims', 'kube', 'observe', 'roles').filter(
    // runs with the chart's value `scoped` only, and so has its one right more only then: chart.test.ts
    ({ path }) => !path.endsWith('/keep-labels.ts'),
  ),
};
const whereScoped = sourcesBelow('src/placement').filter(({ path }) => path.endsWith('/keep-labels.ts'));
/** Runs with the chart's value `controller.nodeLoss` only. */
const whereNodesAreLost = sourcesOf('lost-nodes');
type Account = keyof typeof programs;
const accounts: readonly Account[] = ['loam-node', 'loam-controller'];

function sourcesOf(...rooms: readonly string[]): readonly { readonly path: string; readonly text: string }[] {
  return rooms.flatMap((room) => sourcesBelow(`src/${room}`));
}

/** `get`, where nothing is an answer too: src/kube/look-up.ts. */
const lookUps = /\blookUp\(\s*[\w.#]*api,\s*'(\w+)'/g;

/** `storage.k8s.io/storageclasses list`, one for each thing that the sources ask of the API server. */
function permissionsUsed(text: string): readonly string[] {
  const used: string[] = [];
  for (const [, method, kind, rest = ''] of text.matchAll(
    /\bapi\s*\.(get|list|create|patch|remove)\(\s*'(\w+)'([^;]*?);/g,
  )) {
    const verb = verbs[method as keyof typeof verbs];
    // who is told which part writes either
    const isEither = /signal,\s*subresource\b/.test(rest);
    const isStatus = isEither || /signal,\s*'status'/.test(rest);
    if (isStatus) used.push(permission(kind, verb, '/status'));
    if (isEither || !isStatus) used.push(permission(kind, verb));
  }
  // one verb for all that lost nodes have deleted
  for (const [, kind] of text.matchAll(/#gone\(\s*'(\w+)'/g)) used.push(permission(kind, verbs.remove));
  for (const [, kind] of text.matchAll(lookUps)) used.push(permission(kind, verbs.get));
  for (const [, kind] of text.matchAll(/new (?:Optional)?Reflector\(\{[^}]*?kind: '(\w+)'/g)) {
    used.push(permission(kind, 'list'), permission(kind, 'watch'));
  }
  return used;
}

function permission(kind: string | undefined, verb: string, subresource = ''): string {
  const name = Object.keys(kinds).find((each): each is KindName => each === kind);
  if (name === undefined)
    throw new Error(`the sources speak of ${kind}, which src/kube/kinds.ts does not know`);
  const version = apiVersionOf(name);
  const group = version.includes('/') ? version.split('/')[0] : '';
  return `${group}/${kinds[name].plural}${subresource} ${verb}`;
}

function allowedBy(rules: readonly PolicyRule[]): readonly string[] {
  return rules.flatMap(({ apiGroups, resources, verbs: allowed }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) => allowed.map((verb) => `${group}/${resource} ${verb}`)),
    ),
  );
}

describe.each(accounts)('the roles of the service account %s', (account) => {
  const manifests = parseManifests(readFileSync(manifestPath, 'utf8'));
  const rulesOf = (kind: 'ClusterRole' | 'Role') =>
    ofKind(manifests, kind)
      .filter(({ metadata }) => metadata.name === account)
      .flatMap(({ rules }) => rules);
  const used = [...new Set(programs[account].flatMap(({ text }) => permissionsUsed(text)))];

  it('allow exactly what the sources ask of the API server, in the own namespace what lies there', () => {
    expect(allowedBy(rulesOf('ClusterRole')).toSorted()).toEqual(
      used.filter((each) => !inOwnNamespace.test(each)).toSorted(),
    );
    expect(allowedBy(rulesOf('Role')).toSorted()).toEqual(
      used.filter((each) => inOwnNamespace.test(each)).toSorted(),
    );
    // the reading above found what it looks for
    expect(used.length).toBeGreaterThan(10);
  });

  it('read one namespace only, write one Lease only, and have no wildcard', () => {
    const rules = [...rulesOf('ClusterRole'), ...rulesOf('Role')];
    for (const { resources, verbs: allowed, resourceNames } of rules) {
      if (resources.includes('namespaces')) expect(resourceNames).toEqual(['kube-system']);
      // of what is created no name can be asked
      if (resources.includes('leases') && !allowed.includes('create'))
        expect(resourceNames).toEqual(['loam-controller']);
    }
    expect(JSON.stringify(rules)).not.toContain('*');
  });

  it('are bound to that account alone, which is the one that its pods have', () => {
    for (const [bindings, kind] of [
      ['ClusterRoleBinding', 'ClusterRole'],
      ['RoleBinding', 'Role'],
    ] as const) {
      const own = ofKind(manifests, bindings).filter(({ roleRef }) => roleRef.name === account);
      const subjects = [{ kind: 'ServiceAccount', name: account, namespace: 'loam-system' }];
      expect(own).toMatchObject([{ roleRef: { kind, name: account }, subjects }]);
    }
    const [workload] =
      account === 'loam-node' ? ofKind(manifests, 'DaemonSet') : ofKind(manifests, 'Deployment');
    expect(workload?.spec.template.spec.serviceAccountName).toBe(account);
    expect(ofKind(manifests, 'ServiceAccount').map(({ metadata }) => metadata.name)).toContain(account);
  });
});

describe('the reading of the sources', () => {
  it('finds one right more for who keeps labels: to patch PVs', () => {
    const used = programs['loam-controller'].flatMap(({ text }) => permissionsUsed(text));
    const more = whereScoped.flatMap(({ text }) => permissionsUsed(text));
    expect(more.filter((each) => !used.includes(each))).toEqual(['/persistentvolumes patch']);
  });

  it.skipIf(noGo !== undefined)(
    'finds that ends of lost nodes need all that the controller may have, where the chart allows them',
    async () => {
      const manifests = parseManifests(await renderChart('--set', 'controller.nodeLoss=recreate'));
      const allowed = [...ofKind(manifests, 'ClusterRole'), ...ofKind(manifests, 'Role')]
        .filter(({ metadata }) => metadata.name === 'loam-controller')
        .flatMap(({ rules }) => rules);
      const used = [...programs['loam-controller'], ...whereNodesAreLost].flatMap(({ text }) =>
        permissionsUsed(text),
      );
      expect([...new Set(allowedBy(allowed))].toSorted()).toEqual([...new Set(used)].toSorted());
    },
  );

  it('misses no call to the API', () => {
    const seen = /\bapi\s*\.(get|list|create|patch|remove)\(\s*'/g;
    const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;
    const all = /\bapi\s*\.(get|list|create|patch|remove|watch)\(/g;
    for (const { path, text } of [
      ...accounts.flatMap((account) => programs[account]),
      ...whereScoped,
      ...whereNodesAreLost,
    ]) {
      // these use the kind that they are given
      if (/kube\/((optional-)?reflector|look-up)\.ts$|lost-nodes\/loss-writes\.ts$/.test(path)) continue;
      expect([path, count(text, all)]).toEqual([path, count(text, seen)]);
      expect([path, count(text, /\blookUp\(/g)]).toEqual([path, count(text, lookUps)]);
    }
  });
});

describe('the policies that confine the account of the nodes', () => {
  const manifests = parseManifests(readFileSync(manifestPath, 'utf8'));
  const policies = ofKind(manifests, 'ValidatingAdmissionPolicy');

  it('are for everything that its roles let it write', () => {
    const rules = [...ofKind(manifests, 'ClusterRole'), ...ofKind(manifests, 'Role')]
      .filter(({ metadata }) => metadata.name === 'loam-node')
      .flatMap((role) => role.rules);
    const operations: Readonly<Record<string, string>> = {
      create: 'CREATE',
      patch: 'UPDATE',
      delete: 'DELETE',
    };
    const covered = policies
      .flatMap(({ spec }) => spec.matchConstraints.resourceRules)
      .flatMap(({ apiGroups, resources, operations: of }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((each) => of.map((what) => `${group}/${each} ${what}`)),
        ),
      );
    const writes = allowedBy(rules).filter((each) => !/ (get|list|watch)$/.test(each));
    expect(writes.length).toBeGreaterThan(5);
    for (const write of writes) {
      const [what, verb = ''] = write.split(' ');
      expect(covered).toContain(`${what} ${operations[verb]}`);
    }
  });

  it('are all bound, deny, and let nothing pass where they cannot be asked', () => {
    const bindings = ofKind(manifests, 'ValidatingAdmissionPolicyBinding');
    expect(bindings.map(({ spec }) => spec.policyName)).toEqual(
      policies.map(({ metadata }) => metadata.name),
    );
    for (const { spec } of bindings) expect(spec.validationActions).toEqual(['Deny']);
    for (const { spec } of policies) {
      expect(spec.failurePolicy).toBe('Fail');
      for (const { messageExpression } of spec.validations)
        expect(messageExpression).toContain('variables.name');
    }
  });
});
