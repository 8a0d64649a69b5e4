import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { ClusterUser } from '../../support/cluster-user.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { whyNoGo } from '../../support/go-tools.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { Kubectl } from '../../support/node-account.ts';
import { RealApiServer } from '../../support/real-api-server.ts';
import { installSnapshotKinds, SnapshotController } from '../../support/snapshot-controller.ts';

const namespace = 'loam-system';
const soon = () => AbortSignal.timeout(20_000);
const protections = /source-protection|cloning-protection/;
const noGo = await whyNoGo();
const why = isRoot ? (noGo === undefined ? '' : ` (skipped: ${noGo})`) : mountsNeedRoot;

describe.skipIf(why !== '')(`what becomes of a volume, by the nodes’ role and policies${why}`, () => {
  let folder: string;
  let server: RealApiServer;
  let snapshotController: SnapshotController;
  let api: KubeApi & { close(): Promise<void> };
  let user: ClusterUser;
  let loam: LoamProcess;
  let kubectl: Kubectl;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'loam-changes-'));
    server = await RealApiServer.start();
    await server.startControllerManager({ apiQps: 2000, binderSyncPeriod: '1s' });
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), {
      metrics: noMetrics,
      userAgent: 'loam-test',
    });
    user = new ClusterUser(api, 'loam.dev');
    kubectl = await Kubectl.of(server, folder);
    await installSnapshotKinds(server.kubeconfigPath);
    await kubectl.applyLoam();
    await kubectl.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' } });
    const kubeconfigPath = await kubectl.kubeconfigOf('loam-node', { kind: 'Node', name: 'node-a' });
    await kubectl.untilConfined();
    snapshotController = await SnapshotController.start(server.kubeconfigPath);
    loam = await LoamProcess.start({
      folder: join(folder, 'node'),
      pools: [`p=${join(folder, 'pool')}`],
      kubeconfigPath,
      flags: [`--namespace=${namespace}`],
    });
  });
  afterAll(async () => {
    await loam?.kill();
    await snapshotController?.[Symbol.asyncDispose]();
    await api?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Refusals would be logged and counted, not thrown. */
  async function expectUnrefused(): Promise<void> {
    expect(loam.logTail(1000)).not.toMatch(/forbidden|denied|not allowed|cannot be read/i);
    expect(await loam.metrics()).not.toMatch(/code="403"/);
  }

  it('is cloned, and snapshotted and restored, with the source protected meanwhile and no longer', async () => {
    const className = 'loam-directory';
    const claim = await user.createClaim({ className, node: 'node-a' });
    await user.untilBound(claim);
    const { name } = claim.metadata;
    const clone = await user.createClaim({
      className,
      node: 'node-a',
      spec: { dataSource: { kind: 'PersistentVolumeClaim', name } },
    });
    await user.untilBound(clone);

    const body = { metadata: { name: 'quick' }, driver: 'loam.dev', deletionPolicy: 'Delete' } as const;
    await api.create('VolumeSnapshotClass', body, soon());
    const snapshot = await api.create(
      'VolumeSnapshot',
      {
        metadata: { name: 'monday', namespace: 'default' },
        spec: { volumeSnapshotClassName: 'quick', source: { persistentVolumeClaimName: name } },
      },
      soon(),
    );
    const restored = await user.createClaim({
      className,
      node: 'node-a',
      spec: {
        dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'monday' },
      },
    });
    await user.untilBound(restored, 60_000);
    await eventually('the sources to be let go', async () => {
      const [source, taken] = await Promise.all([
        user.find('PersistentVolumeClaim', claim),
        user.find('VolumeSnapshot', snapshot),
      ]);
      const all = [source, taken].flatMap((each) => each?.metadata.finalizers ?? []);
      const left = all.filter((each) => each.startsWith('provisioner.') && protections.test(each));
      if (left.length > 0) throw new NotYet(left.join());
      return true;
    });
    await user.delete('VolumeSnapshot', snapshot);
    await user.untilGone('VolumeSnapshot', snapshot);
    for (const each of [restored, clone, claim]) await user.deleteClaimAndVolume(each);
    await expectUnrefused();
  });

  it('is asked for as deploy/examples does', async () => {
    const examples = join(import.meta.dirname, '../../../deploy/examples');
    const lines = (await kubectl.run('apply', '--dry-run=server', '--validate=strict', '-f', examples))
      .trim()
      .split('\n');
    expect(lines).toHaveLength(7);
  });

  it('grows as its claim does', async () => {
    const claim = await user.createClaim({ className: 'loam', node: 'node-a', size: '64Mi' });
    await user.untilBound(claim);
    await user.edit('PersistentVolumeClaim', claim, {
      spec: { resources: { requests: { storage: '96Mi' } } },
    });
    await eventually('the PV to say that it has grown', async () => {
      const volume = await user.findVolume(claim);
      if (volume?.spec.capacity?.['storage'] === '96Mi') return true;
      throw new NotYet(JSON.stringify(volume?.spec.capacity));
    });
    await user.deleteClaimAndVolume(claim);
    await expectUnrefused();
  });
});
