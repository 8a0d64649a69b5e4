import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { removeAll } from '../support/cluster-leftovers.ts';
import { anEventBy, aClaimFor, aVolumeOn, loamNamespace, selectedNode } from '../support/node-objects.ts';
import { claimOf, podOf } from '../support/pods.ts';
import { clusterScript, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const [own, other] = ['node-a', 'node-b'];
const inLoams = [`--namespace=${loamNamespace}`];
const dry = '--dry-run=server';

describe.skipIf(why !== undefined)(
  `the token that kubelet gave to Loam's pod on ${own}${why === undefined ? '' : ` (${why})`}`,
  () => {
    let folder: string;
    let kubeconfig: string;

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'loam-confinement-'));
      kubeconfig = await kubeconfigWith(await tokenOf(await loamPodOn(own)));
      // of no class that is there: nobody touches them
      for (const node of [own, other]) {
        const claim = aClaimFor(node, `for-${node}`);
        await cluster.apply({ ...claim, spec: { ...claim.spec, storageClassName: 'nobodys' } });
        await cluster.apply(claimOf(`on-${node}`), podOf(`on-${node}`, `on-${node}`, { node }));
      }
      for (const node of [own, other]) await cluster.untilRunning(`on-${node}`);
    });

    afterAll(async () => {
      rmSync(folder, { recursive: true, force: true });
      await removeAll(cluster);
    });

    async function loamPodOn(node: string): Promise<string> {
      return cluster.kubectl([
        ...inLoams,
        'get',
        'pods',
        '--selector=app.kubernetes.io/component=node',
        `--field-selector=spec.nodeName=${node}`,
        '--output=jsonpath={.items[0].metadata.name}',
      ]);
    }

    function tokenOf(pod: string): Promise<string> {
      const path = '/var/run/secrets/kubernetes.io/serviceaccount/token';
      return cluster.kubectl([...inLoams, 'exec', pod, '--', 'cat', path]);
    }

    /** The administrator's, with another user in it. */
    async function kubeconfigWith(token: string): Promise<string> {
      const path = await clusterScript('kubeconfig');
      const text = JSON.parse(readFileSync(path, 'utf8')) as { readonly users: readonly [{ name: string }] };
      const users = [{ name: text.users[0].name, user: { token } }];
      const written = join(folder, 'with-token.kubeconfig');
      writeFileSync(written, JSON.stringify({ ...text, users }), { mode: 0o600 });
      return written;
    }

    /** What it was refused with; '' where it was done. */
    async function refusal(args: readonly string[], stdin?: object): Promise<string> {
      try {
        await cluster.kubectl(
          [`--kubeconfig=${kubeconfig}`, ...args],
          stdin === undefined ? undefined : JSON.stringify(stdin),
        );
        return '';
      } catch (error) {
        return (error as { readonly stderr?: string }).stderr ?? String(error);
      }
    }

    function merge(kind: string, name: string, body: object, ...flags: readonly string[]): Promise<string> {
      return refusal(['patch', kind, name, '--type=merge', `--patch=${JSON.stringify(body)}`, ...flags]);
    }

    /** kubectl would read the status first, which nobody of ours may. */
    async function statusRefusal(volume: string): Promise<string> {
      const api = createKubeApi(loadKubeAccess(kubeconfig), { metrics: noMetrics, userAgent: 'loam-test' });
      const body = { status: { phase: 'Bound', message: 'by a test' } };
      try {
        const signal = AbortSignal.timeout(10_000);
        await api.patch('PersistentVolume', { name: volume }, { type: 'merge', body }, signal, 'status');
        return '';
      } catch (error) {
        return String(error);
      } finally {
        await api.close();
      }
    }

    const volumeOn = (node: string) => cluster.field('pvc', `on-${node}`, '.spec.volumeName');
    const mark = { metadata: { annotations: { 'loam.dev/test': 'x' } } };
    const denied = (policy: string, what: string) =>
      new RegExp(`ValidatingAdmissionPolicy '${policy}'.*denied request: ${what}.* by node ${own} refused`);

    it('names the node, as the API server reads it', async () => {
      const text = await cluster.kubectl([`--kubeconfig=${kubeconfig}`, 'auth', 'whoami', '--output=json']);
      const { status } = JSON.parse(text) as { readonly status: { readonly userInfo: object } };
      expect(status.userInfo).toMatchObject({
        username: 'system:serviceaccount:loam-system:loam-node',
        extra: { 'authentication.kubernetes.io/node-name': [own] },
      });
    });

    it('writes PVs of its own node, and none of another', async () => {
      const [mine, theirs] = [await volumeOn(own), await volumeOn(other)];
      expect(await merge('pv', mine, mark, dry)).toBe('');
      expect(await refusal(['create', '-f', '-', dry], aVolumeOn(own))).toBe('');
      expect(await refusal(['delete', 'pv', mine, dry])).toBe('');
      expect(await merge('pv', theirs, mark)).toMatch(denied('loam-node-volumes', 'UPDATE'));
      expect(await statusRefusal(mine)).toBe('');
      expect(await statusRefusal(theirs)).toMatch(denied('loam-node-volumes', 'UPDATE'));
      expect(await refusal(['delete', 'pv', theirs, '--wait=false'])).toMatch(
        denied('loam-node-volumes', 'DELETE'),
      );
      const refused = await refusal(['create', '-f', '-'], aVolumeOn(other));
      console.log(refused);
      expect(refused).toMatch(denied('loam-node-volumes', 'CREATE'));
      expect(await cluster.field('pv', theirs, '.status.phase')).toBe('Bound');
      expect(await cluster.field('pv', theirs, '.metadata.deletionTimestamp')).toBe('');
    });

    it('gives back claims that wait for its own node, and touches none of another', async () => {
      const away = { metadata: { annotations: { [selectedNode]: null } } };
      const there = { metadata: { annotations: { [selectedNode]: other } } };
      expect(await merge('pvc', `for-${own}`, mark, dry)).toBe('');
      expect(await merge('pvc', `for-${own}`, away, dry)).toBe('');
      const refused = denied('loam-node-claims', 'UPDATE');
      expect(await merge('pvc', `for-${own}`, there)).toMatch(refused);
      for (const body of [mark, away, { metadata: { annotations: { [selectedNode]: own } } }])
        expect(await merge('pvc', `for-${other}`, body)).toMatch(refused);
      // RBAC has no delete at all
      expect(await refusal(['delete', 'pvc', `for-${own}`, dry])).toMatch(/forbidden/i);
      const selected = `.metadata.annotations.${selectedNode.replaceAll('.', '\\.')}`;
      expect(await cluster.field('pvc', `for-${other}`, selected)).toBe(other);
    });

    it('tells the room of its own node only', async () => {
      const objectsOf = async (node: string) => {
        const flags = [`--selector=loam.dev/node=${node}`, '--output=jsonpath={.items[0].metadata.name}'];
        return cluster.kubectl([...inLoams, 'get', 'csistoragecapacities', ...flags]);
      };
      const more = { capacity: '900Ti', maximumVolumeSize: '900Ti' };
      const kind = 'csistoragecapacity';
      expect(await merge(kind, await objectsOf(own), more, ...inLoams, dry)).toBe('');
      const refused = (verb: string) => denied('loam-node-capacity', verb);
      const theirs = await objectsOf(other);
      expect(await merge(kind, theirs, more, ...inLoams)).toMatch(refused('UPDATE'));
      expect(await refusal(['delete', kind, theirs, ...inLoams])).toMatch(refused('DELETE'));
    });

    it('speaks in its own name only', async () => {
      expect(await refusal(['create', '-f', '-', dry], anEventBy(own, 'by-own'))).toBe('');
      expect(await refusal(['create', '-f', '-'], anEventBy(other, 'by-other'))).toMatch(
        denied('loam-node-events', 'CREATE'),
      );
    });

    it('cannot be had by the kubelet of another node, which has tokens of its own pods only', async () => {
      const kubelet = join(dirname(await clusterScript('kubeconfig')), `${own}.kubeconfig`);
      const token = async (node: string) => {
        const pod = await loamPodOn(node);
        const uid = await cluster.kubectl([
          ...inLoams,
          'get',
          'pod',
          pod,
          '--output=jsonpath={.metadata.uid}',
        ]);
        const bound = ['--bound-object-kind=Pod', `--bound-object-name=${pod}`, `--bound-object-uid=${uid}`];
        kubeconfig = kubelet;
        return refusal([...inLoams, 'create', 'token', 'loam-node', ...bound]);
      };
      const before = kubeconfig;
      try {
        expect(await token(own)).toBe('');
        const refused = await token(other);
        console.log(refused);
        expect(refused).toMatch(/forbidden/i);
        // NodeRestriction: neither the other Node, nor its CSINode
        expect(await merge('node', other, { metadata: { labels: { x: 'y' } } })).toMatch(
          /not allowed|forbidden/i,
        );
        expect(await merge('csinode', other, mark)).toMatch(/forbidden/i);
      } finally {
        kubeconfig = before;
      }
    });
  },
);
