import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import { EventRecorder } from '../../../src/kube/event-recorder.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { ClusterUser } from '../../support/cluster-user.ts';
import { freePorts } from '../../support/free-ports.ts';
import { ChildProgram } from '../../support/child-program.ts';
import { manifestPath, renderChart } from '../../support/chart.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { ofKind, parseManifests } from '../../support/manifests.ts';
import { Kubectl } from '../../support/node-account.ts';
import { aVolumeOn } from '../../support/node-objects.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const namespace = 'loam-system';
const soon = () => AbortSignal.timeout(10_000);
const options = { metrics: noMetrics, userAgent: 'loam-test' };

interface ControllerProcess extends AsyncDisposable {
  logTail(lines: number): string;
}

describe.skipIf(!isRoot)(`deploy/kubernetes on a real API server${mountsNeedRoot}`, () => {
  let folder: string;
  let server: RealApiServer;
  let api: KubeApi & { close(): Promise<void> };
  let kubectl: Kubectl;
  let user: ClusterUser;
  /** of the nodes' account on node-a, and of the controller's */
  let nodeKubeconfig: string;
  let controllerKubeconfig: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'loam-rbac-'));
    server = await RealApiServer.start();
    await server.startControllerManager({ apiQps: 2000, binderSyncPeriod: '1s' });
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), options);
    user = new ClusterUser(api, 'loam.dev');
    kubectl = await Kubectl.of(server, folder);
    await kubectl.applyLoam();
    await kubectl.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' } });
    nodeKubeconfig = await kubectl.kubeconfigOf('loam-node', { kind: 'Node', name: 'node-a' });
    controllerKubeconfig = await kubectl.kubeconfigOf('loam-controller');
    await api.create('PersistentVolume', { ...aVolumeOn('node-b'), metadata: { name: 'any' } }, soon());
    await kubectl.untilConfined();
  });
  afterAll(async () => {
    await api?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is taken by the API server under strict validation, and a second apply changes nothing', async () => {
    const lines = (await kubectl.applyLoam()).trim().split('\n');
    expect(lines).toHaveLength(32);
    // kubectl sends a budget's selector every time
    const changed = lines.filter((line) => !/ unchanged$|^poddisruptionbudget/.test(line));
    expect(changed).toEqual([]);
  });

  it('lets the node’s process do all of its work, confined to its node: provision, scrub, delete, move on, tell', async () => {
    await using loam = await LoamProcess.start({
      folder: join(folder, 'node'),
      pools: [`p=${join(folder, 'pool')}`],
      kubeconfigPath: nodeKubeconfig,
      flags: [`--namespace=${namespace}`],
    });
    for (const className of ['loam', 'loam-directory', 'loam-scrub']) {
      const claim = await user.createClaim({ className, node: 'node-a' });
      await user.untilBound(claim);
      await user.untilEvent(claim, 'ProvisioningSucceeded', 'Successfully provisioned');
      await user.deleteClaimAndVolume(claim);
    }

    const capacities = await eventually('a capacity object for each class', async () => {
      const { items } = await api.list('CSIStorageCapacity', { namespace }, soon());
      return items.length === 3 && items;
    });
    expect(capacities.map(({ storageClassName }) => storageClassName).toSorted()).toEqual([
      'loam',
      'loam-directory',
      'loam-scrub',
    ]);

    const tooLarge = await user.createClaim({ className: 'loam', node: 'node-a', size: '1Pi' });
    await user.untilUnselected(tooLarge);
    await user.untilEvent(tooLarge, 'ProvisioningFailed', /./);
    expect((await loam.status()).ok).toBe(true);

    // another node's claim and volume are left to it
    const elsewhere = await user.createClaim({ className: 'loam', node: 'node-b', name: 'elsewhere' });
    const forged = aVolumeOn('node-b');
    await api.create('PersistentVolume', forged, soon());
    const near = await user.createClaim({ className: 'loam', node: 'node-a' });
    await user.untilBound(near);
    expect((await user.find('PersistentVolumeClaim', elsewhere))?.spec.volumeName).toBeUndefined();
    expect(await user.find('PersistentVolume', forged)).toBeDefined();
    await user.deleteClaimAndVolume(near);
    // refusals would be logged and counted, not thrown
    expect(loam.logTail(1000)).not.toMatch(/forbidden|denied|cannot be read/i);
    expect(await loam.metrics()).not.toMatch(/code="403"/);
  });

  it('lets the controller do all of its work: lead, place an Immediate claim, say where nothing fits, free a claim whose node is gone', async () => {
    const driver = { name: 'loam.dev', nodeID: 'node-a', topologyKeys: ['topology.loam.dev/node'] };
    await kubectl.create({
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSINode',
      metadata: { name: 'node-a' },
      spec: { drivers: [driver] },
    });
    const ready = { type: 'Ready', status: 'True', lastHeartbeatTime: new Date().toISOString() };
    const isReady = JSON.stringify({ status: { conditions: [ready] } });
    await kubectl.run('patch', 'node', 'node-a', '--subresource=status', '-p', isReady);
    await using _loam = await LoamProcess.start({
      folder: join(folder, 'node-2'),
      pools: [`p=${join(folder, 'pool-2')}`],
      kubeconfigPath: nodeKubeconfig,
      flags: [`--namespace=${namespace}`, '--immediate=false'],
    });
    await using controller = await startController();
    const className = await user.createClass({ volumeBindingMode: 'Immediate' });

    const claim = await user.createClaim({ className });
    await user.untilBound(claim);
    expect((await user.find('PersistentVolumeClaim', claim))?.metadata.annotations).toMatchObject({
      'volume.kubernetes.io/selected-node': 'node-a',
    });
    await user.deleteClaimAndVolume(claim);
    const tooLarge = await user.createClaim({ className, size: '1Pi' });
    await user.untilEvent(tooLarge, 'ProvisioningFailed', /./);
    // gone for good: freed at once
    const lost = await user.createClaim({ className: 'loam', node: 'never-there' });
    await user.untilUnselected(lost);
    expect(controller.logTail(1000)).not.toMatch(/forbidden|denied|cannot be read/i);
  });

  async function startController(more: readonly string[] = []): Promise<ControllerProcess> {
    const [port = 0] = await freePorts(1);
    const project = join(import.meta.dirname, '../../..');
    const flags = [
      `--kubeconfig=${controllerKubeconfig}`,
      `--namespace=${namespace}`,
      `--observe=127.0.0.1:${port}`,
      ...more,
    ];
    const program = new ChildProgram(
      join(project, 'node_modules/.bin/node'),
      ['--disable-warning=ExperimentalWarning', join(project, 'src/main.ts'), 'controller', ...flags],
      { name: 'controller', logPath: join(folder, 'controller.log') },
    );
    await program.whenReady(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, 30_000);
    return {
      logTail: (lines) => program.logTail(lines),
      [Symbol.asyncDispose]: () => program.kill(),
    };
  }

  it('lets the controller keep labels on PVs too by the role of a chart that says scoped, and nodes work by them', async () => {
    const [role] = ofKind(parseManifests(await renderChart('--set', 'scoped=true')), 'ClusterRole').filter(
      ({ metadata }) => metadata.name === 'loam-controller',
    );
    const path = join(folder, 'scoped-role.json');
    writeFileSync(path, JSON.stringify(role));
    await kubectl.run('apply', '-f', path);
    try {
      await using loam = await LoamProcess.start({
        folder: join(folder, 'node-3'),
        pools: [`p=${join(folder, 'pool-3')}`],
        kubeconfigPath: nodeKubeconfig,
        flags: [`--namespace=${namespace}`, '--scoped', '--immediate=false'],
      });
      // the Lease is still that of the last test's controller
      await using controller = await startController(['--scoped', '--no-leader-elect']);
      const claim = await user.createClaim({ className: 'loam-directory', node: 'node-a' });
      const volume = await user.untilBound(claim);
      await user.edit('PersistentVolume', volume, { metadata: { labels: { 'loam.dev/node': null } } });
      await eventually('the label to come back', async () => {
        const found = await user.find('PersistentVolume', volume);
        return found?.metadata.labels?.['loam.dev/node'] === 'node-a';
      });
      await user.deleteClaimAndVolume(claim);
      for (const process of [loam, controller])
        expect(process.logTail(1000)).not.toMatch(/forbidden|denied|cannot be read/i);
    } finally {
      await kubectl.applyLoam();
    }
  });

  it('lets the controller take the room of a node without kubelet for none, and the node’s process put that right', async () => {
    // an earlier test had kubelet know the driver
    await kubectl.run('delete', 'csinode', 'node-a', '--ignore-not-found');
    const untilAll = (what: string, isSo: (size: string) => boolean) =>
      eventually(`capacity objects: ${what}`, async () => {
        const { items } = await api.list('CSIStorageCapacity', { namespace }, soon());
        if (items.length >= 3 && items.every(({ maximumVolumeSize = '' }) => isSo(maximumVolumeSize)))
          return true;
        throw new NotYet(JSON.stringify(items));
      });
    const untilRoom = () => untilAll('room for each class', (size) => size !== '0');
    const startNode = () =>
      LoamProcess.start({
        folder: join(folder, 'node-4'),
        pools: [`p=${join(folder, 'pool-4')}`],
        kubeconfigPath: nodeKubeconfig,
        flags: [`--namespace=${namespace}`, '--immediate=false'],
      });
    {
      await using _ = await startNode();
      await untilRoom();
    }
    {
      await using controller = await startController(['--no-leader-elect', '--unreachable-after=1s']);
      await untilAll('none', (size) => size === '0');
      expect(controller.logTail(1000)).not.toMatch(/forbidden|denied|cannot be read/i);
    }
    await using loam = await startNode();
    await untilRoom();
    expect(loam.logTail(1000)).not.toMatch(/forbidden|denied|cannot be read/i);
  });

  it('lets the node’s process count an Event on, where something is said again', async () => {
    const own = createKubeApi(loadKubeAccess(nodeKubeconfig), options);
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
      await recorder.flush(soon());
      expect((await user.eventsOf(object)).map(({ count }) => count)).toEqual([told]);
    }
    expect(recorder.dropped).toBe(0);
    await own.close();
  });

  it.each([
    ['node', 'read Secrets', ['get', 'secrets', '-A']],
    ['node', 'read Pods', ['get', 'pods', '-A']],
    ['node', 'list Nodes', ['get', 'nodes']],
    ['node', 'change its Node', ['label', 'node', 'node-a', 'a=b']],
    ['node', 'read other namespaces', ['get', 'namespace', 'default']],
    ['node', 'list namespaces', ['get', 'namespaces']],
    ['node', 'read Events', ['get', 'events', '-A']],
    ['node', 'read its own DaemonSet', ['get', 'daemonset', 'loam-node', '-n', namespace]],
    ['node', 'create claims', ['create', '-f', '{dir}/claim.yaml']],
    ['node', 'delete claims', ['delete', 'pvc', 'any', '-n', 'default']],
    [
      'node',
      'change the status of claims that are not its own',
      ['patch', 'pvc', 'any', '-n', 'default', '--subresource=status', '-p', '{}'],
    ],
    ['node', 'change classes', ['patch', 'storageclass', 'loam', '-p', '{"allowVolumeExpansion":true}']],
    ['node', 'delete its driver’s object', ['delete', 'csidriver', 'loam.dev']],
    ['node', 'give itself more', ['patch', 'clusterrole', 'loam-node', '-p', '{"rules":[]}']],
    ['node', 'take its policies away', ['delete', 'validatingadmissionpolicy', 'loam-node-volumes']],
    ['node', 'read capacity objects elsewhere', ['get', 'csistoragecapacities', '-n', 'default']],
    ['node', 'take the controller’s Lease', ['create', '-f', '{dir}/lease.yaml']],
    ['node', 'mint tokens', ['create', 'token', 'loam-node', '-n', namespace]],
    ['controller', 'read Secrets', ['get', 'secrets', '-A']],
    ['controller', 'read Pods', ['get', 'pods', '-A']],
    ['controller', 'change Nodes', ['label', 'node', 'node-a', 'a=b']],
    ['controller', 'create claims', ['create', '-f', '{dir}/claim.yaml']],
    ['controller', 'delete claims', ['delete', 'pvc', 'any', '-n', 'default']],
    ['controller', 'delete PVs', ['delete', 'pv', 'any']],
    ['controller', 'change PVs', ['patch', 'pv', 'any', '-p', '{}']],
    ['controller', 'delete capacity objects', ['delete', 'csistoragecapacity', 'any', '-n', namespace]],
    ['controller', 'take other Leases', ['get', 'lease', 'other', '-n', namespace]],
    ['controller', 'take Leases elsewhere', ['get', 'lease', 'loam-controller', '-n', 'kube-system']],
    ['controller', 'mint tokens', ['create', 'token', 'loam-node', '-n', namespace]],
  ])('does not let the %s’s account %s', async (who, _, args) => {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'any', namespace: 'default' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    };
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'loam-controller', namespace },
    };
    writeFileSync(join(folder, 'claim.yaml'), JSON.stringify(claim));
    writeFileSync(join(folder, 'lease.yaml'), JSON.stringify(lease));
    const filled = args.map((arg) => arg.replace('{dir}', folder));
    const kubeconfig = who === 'node' ? nodeKubeconfig : controllerKubeconfig;
    await expect(kubectl.as(kubeconfig, ...filled)).rejects.toThrow(/forbidden/i);
  });

  it('runs the controller where only restricted pods may run', async () => {
    const restricted = 'restricted';
    await kubectl.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: restricted, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    });
    const manifests = parseManifests(readFileSync(manifestPath, 'utf8'));
    const pods = [...ofKind(manifests, 'Deployment'), ...ofKind(manifests, 'DaemonSet')].map(
      ({ metadata, spec }) => {
        const { serviceAccountName: _, priorityClassName: __, ...rest } = spec.template.spec;
        const pod = { name: metadata.name, namespace: restricted };
        return { apiVersion: 'v1', kind: 'Pod', metadata: pod, spec: rest };
      },
    );
    const [controller, node] = pods;
    if (controller === undefined || node === undefined) throw new Error('a workload is missing');
    await kubectl.create(controller);
    await expect(kubectl.create(node)).rejects.toThrow(/violates PodSecurity "restricted/);
  });
});
