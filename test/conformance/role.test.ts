import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { apiVersionOf, kinds, type KindName } from '../../src/kube/kinds.ts';
import { manifestPath } from '../support/chart.ts';
import { ofKind, parseManifests } from '../support/manifests.ts';
import { sourcesBelow } from '../support/source-files.ts';

const verbs = { get: 'get', list: 'list', create: 'create', patch: 'patch', remove: 'delete' } as const;
/** What the node's process is made of; the rest of src/ speaks to the embedded control plane. */
const rooms = ['provisioner', 'kube', 'roles', 'observe'];

/** `storage.k8s.io/storageclasses list`, one for each thing that the sources ask of the API server. */
function permissionsUsed(text: string): readonly string[] {
  const used: string[] = [];
  for (const [, method, kind, rest = ''] of text.matchAll(
    /\bapi\s*\.(get|list|create|patch|remove)\(\s*'(\w+)'([^;]*?);/g,
  )) {
    const subresource = /signal,\s*'status'/.test(rest) ? '/status' : '';
    used.push(permission(kind, verbs[method as keyof typeof verbs], subresource));
  }
  for (const [, kind] of text.matchAll(/new Reflector\(\{[^}]*?kind: '(\w+)'/g)) {
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

describe('the role of the node’s service account', () => {
  const manifests = parseManifests(readFileSync(manifestPath, 'utf8'));
  const [role] = ofKind(manifests, 'ClusterRole');
  const used = rooms.flatMap((room) =>
    sourcesBelow(`src/${room}`).flatMap(({ text }) => permissionsUsed(text)),
  );

  it('allows exactly what the sources ask of the API server', () => {
    const allowed = (role?.rules ?? []).flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${group}/${resource} ${verb}`)),
      ),
    );
    expect(allowed.toSorted()).toEqual([...new Set(used)].toSorted());
    // the reading above found what it looks for
    expect(used.length).toBeGreaterThan(15);
  });

  it('has no call to the API that the reading above would not see', () => {
    const seen = /\bapi\s*\.(get|list|create|patch|remove)\(\s*'/g;
    const all = /\bapi\s*\.(get|list|create|patch|remove|watch)\(/g;
    for (const { path, text } of rooms.flatMap((room) => sourcesBelow(`src/${room}`))) {
      // the reflector lists and watches the kind that it is given
      if (path.endsWith('kube/reflector.ts')) continue;
      expect([path, text.match(all)?.length ?? 0]).toEqual([path, text.match(seen)?.length ?? 0]);
    }
  });

  it('reads one namespace only, has no wildcard, and is bound to that account alone', () => {
    for (const { resources, resourceNames } of role?.rules ?? []) {
      if (resources.includes('namespaces')) expect(resourceNames).toEqual(['kube-system']);
    }
    expect(JSON.stringify(role?.rules)).not.toContain('*');
    const [account] = ofKind(manifests, 'ServiceAccount');
    expect(ofKind(manifests, 'ClusterRoleBinding')).toMatchObject([
      {
        roleRef: { kind: 'ClusterRole', name: role?.metadata.name },
        subjects: [{ kind: 'ServiceAccount', name: account?.metadata.name, namespace: 'loam-system' }],
      },
    ]);
    expect(ofKind(manifests, 'DaemonSet')[0]?.spec.template.spec.serviceAccountName).toBe(
      account?.metadata.name,
    );
  });
});
