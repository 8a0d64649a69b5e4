import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import { EventRecorder } from '../../../src/kube/event-recorder.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { ClusterUser } from '../../support/cluster-user.ts';
import { buildGoTool } from '../../support/go-tools.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const run = promisify(execFile);
const manifests = join(import.meta.dirname, '../../../deploy/kubernetes');
const account = 'loam-node';
const namespace = 'loam-system';
const options = { metrics: noMetrics, userAgent: 'loam-test' };

describe.skipIf(!isRoot)(`deploy/kubernetes on a real API server${mountsNeedRoot}`, () => {
  let folder: string;
  let server: RealApiServer;
  let api: KubeApi & { close(): Promise<void> };
  let kubectlPath: string;
  let accountKubeconfig: string;

  const kubectl = async (kubeconfig: string, ...args: readonly string[]): Promise<string> => {
    const flags = [`--kubeconfig=${kubeconfig}`, `--cache-dir=${join(folder, 'kubectl')}`];
    return (await run(kubectlPath, [...flags, ...args], { timeout: 60_000 })).stdout;
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'loam-rbac-'));
    kubectlPath = await buildGoTool('kubectl');
    server = await RealApiServer.start();
    await server.startControllerManager({ apiQps: 2000 });
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), options);
    await kubectl(server.kubeconfigPath, 'apply', '-k', manifests, '--validate=strict');
    const token = await kubectl(server.kubeconfigPath, '-n', namespace, 'create', 'token', account);
    const kubeconfig = JSON.parse(readFileSync(server.kubeconfigPath, 'utf8')) as object;
    accountKubeconfig = join(folder, 'account.kubeconfig');
    const users = [{ name: 'admin', user: { token: token.trim() } }];
    writeFileSync(accountKubeconfig, JSON.stringify({ ...kubeconfig, users }), { mode: 0o600 });
  });
  afterAll(async () => {
    await api?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is taken by the API server under strict validation, and a second apply changes nothing', async () => {
    const again = await kubectl(server.kubeconfigPath, 'apply', '-k', manifests, '--validate=strict');
    const lines = again.trim().split('\n');
    expect(lines).toHaveLength(9);
    expect(lines.filter((line) => !line.endsWith(' unchanged'))).toEqual([]);
  });

  it('lets the node’s process do all of its work: provision, scrub, delete, move on, tell', async () => {
    await using loam = await LoamProcess.start({
      folder: join(folder, 'node'),
      pools: [`p=${join(folder, 'pool')}`],
      kubeconfigPath: accountKubeconfig,
    });
    const user = new ClusterUser(api, 'loam.dev');
    for (const className of ['loam', 'loam-directory', 'loam-scrub']) {
      const claim = await user.createClaim({ className, node: 'node-a' });
      await user.untilBound(claim);
      await user.untilEvent(claim, 'ProvisioningSucceeded', 'Successfully provisioned');
      await user.deleteClaimAndVolume(claim);
    }

    const tooLarge = await user.createClaim({ className: 'loam', node: 'node-a', size: '1Pi' });
    await user.untilUnselected(tooLarge);
    await user.untilEvent(tooLarge, 'ProvisioningFailed', /./);
    expect((await loam.status()).ok).toBe(true);
    // refusals would be logged and counted, not thrown
    expect(loam.logTail(1000)).not.toMatch(/forbidden|cannot be read/i);
    expect(await loam.metrics()).not.toMatch(/code="403"/);
  });

  it('lets it count an Event on, where something is said again', async () => {
    const own = createKubeApi(loadKubeAccess(accountKubeconfig), options);
    const recorder = new EventRecorder({
      api: own,
      component: 'loam.dev',
      host: 'node-a',
      clock: systemClock,
      log: silentLog,
    });
    const object = { metadata: { name: 'any', namespace: 'default', uid: 'any' } };
    for (let told = 1; told <= 2; told += 1) {
      recorder.record({ kind: 'PersistentVolumeClaim', object }, 'Warning', 'Said', 'the same');
      await recorder.flush(AbortSignal.timeout(10_000));
      expect((await new ClusterUser(api, 'loam.dev').eventsOf(object)).map(({ count }) => count)).toEqual([
        told,
      ]);
    }
    expect(recorder.dropped).toBe(0);
    await own.close();
  });

  it.each([
    ['read Secrets', ['get', 'secrets', '-A']],
    ['read Pods', ['get', 'pods', '-A']],
    ['read Nodes', ['get', 'nodes']],
    ['read other namespaces', ['get', 'namespace', 'default']],
    ['list namespaces', ['get', 'namespaces']],
    ['read Events', ['get', 'events', '-A']],
    ['read its own DaemonSet', ['get', 'daemonset', 'loam-node', '-n', namespace]],
    ['create claims', ['create', '-f', '{dir}/claim.yaml']],
    ['delete claims', ['delete', 'pvc', 'any', '-n', 'default']],
    ['change claims’ status', ['patch', 'pvc', 'any', '-n', 'default', '--subresource=status', '-p', '{}']],
    ['change classes', ['patch', 'storageclass', 'loam', '-p', '{"allowVolumeExpansion":true}']],
    ['delete its driver’s object', ['delete', 'csidriver', 'loam.dev']],
    ['give itself more', ['patch', 'clusterrole', 'loam-node', '-p', '{"rules":[]}']],
    ['mint tokens', ['create', 'token', account, '-n', namespace]],
  ])('does not let it %s', async (_, args) => {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'any', namespace: 'default' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    };
    writeFileSync(join(folder, 'claim.yaml'), JSON.stringify(claim));
    const filled = args.map((arg) => arg.replace('{dir}', folder));
    await expect(kubectl(accountKubeconfig, ...filled)).rejects.toThrow(/forbidden/i);
  });
});
