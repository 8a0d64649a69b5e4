import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KubeletStandIn } from '../../../src/embedded/kubelet-stand-in.ts';
import { startEmbeddedControlPlane, type EmbeddedControlPlane } from '../../../src/embedded/start.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { silentLog } from '../../../src/model/log.ts';
import type { PublishRequest } from '../../../src/model/node-driver.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { nodeTopologyKey } from '../../../src/model/topology.ts';
import { aClaim, aClass, aPod, aVolume } from './builders.ts';

let plane: EmbeddedControlPlane;
let api: KubeApi;
let kubelet: KubeletStandIn;
const stopping = { controller: new AbortController() };
const calls: string[] = [];
const publishes: PublishRequest[] = [];
let failNext: string | undefined;

const driver = {
  stage: async ({ volumeId }: { volumeId: string }) => void calls.push(`stage ${volumeId}`),
  publish: async (request: PublishRequest) => {
    const failure = failNext;
    failNext = undefined;
    if (failure !== undefined) throw new CsiError('FAILED_PRECONDITION', failure);
    calls.push(`publish ${request.volumeId}`);
    publishes.push(request);
  },
  unpublish: async ({ volumeId }: { volumeId: string }) => void calls.push(`unpublish ${volumeId}`),
  unstage: async ({ volumeId }: { volumeId: string }) => void calls.push(`unstage ${volumeId}`),
};

beforeEach(async () => {
  calls.length = 0;
  publishes.length = 0;
  failNext = undefined;
  stopping.controller = new AbortController();
  const parts = { clock: systemClock, log: silentLog };
  plane = await startEmbeddedControlPlane({ nodes: ['a', 'b'], binder: true, scheduler: true, ...parts });
  ({ api } = plane);
  kubelet = new KubeletStandIn({
    api,
    nodeName: 'a',
    driverName: 'loam.dev',
    rootPath: '/kubelet',
    driver,
    directories: { make: async () => {}, remove: async () => {} },
    finishPod: (key, uid) => plane.finishPod(key, uid),
    singleNodeMultiWriter: true,
    notices: { record: (_, __, reason, message) => void calls.push(`${reason}: ${message}`) },
    ...parts,
  });
  await kubelet.start(stopping.controller.signal);
  await api.create('StorageClass', aClass('local', { volumeBindingMode: 'WaitForFirstConsumer' }), signal());
});
afterEach(async () => {
  stopping.controller.abort();
  await plane.close();
});

const signal = () => stopping.controller.signal;
const key = (name: string) => ({ namespace: 'default', name });
const until = (check: () => Promise<void> | void) => vi.waitFor(check, { timeout: 4000, interval: 5 });
const claimNow = () => api.get('PersistentVolumeClaim', key('data'), signal());
const isRunning = (name: string) =>
  until(async () => expect((await api.get('Pod', key(name), signal())).status?.phase).toBe('Running'));
const onNode = (node: string) => ({
  required: {
    nodeSelectorTerms: [{ matchExpressions: [{ key: nodeTopologyKey, operator: 'In', values: [node] }] }],
  },
});
const selectedNode = async () =>
  (await claimNow()).metadata.annotations?.['volume.kubernetes.io/selected-node'];

describe('the scheduler', () => {
  it('selects a node for a claim that has to be provisioned, and places the pod once it is bound', async () => {
    const claim = await api.create('PersistentVolumeClaim', aClaim('data'), signal());
    await api.create('Pod', aPod('user', 'data'), signal());
    await until(async () => expect(await selectedNode()).toBe('a'));
    expect((await api.get('Pod', key('user'), signal())).spec?.nodeName).toBeUndefined();
    const claimRef = { ...key('data'), uid: claim.metadata.uid ?? '' };
    await api.create('PersistentVolume', aVolume('v', { claimRef, nodeAffinity: onNode('a') }), signal());
    await isRunning('user');
  });

  it("prefers an Available PV to a new one, on the PV's own node", async () => {
    await api.create('PersistentVolume', aVolume('there', { nodeAffinity: onNode('b') }), signal());
    await api.create(
      'PersistentVolumeClaim',
      aClaim('none-selected', { storageClassName: 'nothing' }),
      signal(),
    );
    await until(async () =>
      expect((await api.get('PersistentVolume', { name: 'there' }, signal())).status?.phase).toBe(
        'Available',
      ),
    );
    await api.create(
      'StorageClass',
      aClass('static', {
        provisioner: 'kubernetes.io/no-provisioner',
        volumeBindingMode: 'WaitForFirstConsumer',
      }),
      signal(),
    );
    await api.create(
      'PersistentVolume',
      aVolume('fixed', { storageClassName: 'static', nodeAffinity: onNode('b') }),
      signal(),
    );
    await api.create('PersistentVolumeClaim', aClaim('data', { storageClassName: 'static' }), signal());
    await api.create('Pod', aPod('user', 'data'), signal());
    await until(async () => expect((await api.get('Pod', key('user'), signal())).spec?.nodeName).toBe('b'));
    expect((await claimNow()).spec.volumeName).toBe('fixed');
    expect(await selectedNode()).toBeUndefined();
  });

  it('passes over a node whose published capacity is too small', async () => {
    const publish = (node: string, capacity: string) => {
      const nodeTopology = { matchLabels: { [nodeTopologyKey]: node } };
      const metadata = { name: `capacity-${node}`, namespace: 'default' };
      return api.create(
        'CSIStorageCapacity',
        { metadata, storageClassName: 'local', nodeTopology, capacity },
        signal(),
      );
    };
    await publish('a', '100Mi');
    await publish('b', '5Gi');
    await api.create('PersistentVolumeClaim', aClaim('data'), signal());
    await api.create('Pod', aPod('user', 'data'), signal());
    await until(async () => expect(await selectedNode()).toBe('b'));
  });

  it('keeps to the node whose capacity it has asked for', async () => {
    await api.create(
      'PersistentVolumeClaim',
      aClaim('data', {}, { annotations: { 'volume.kubernetes.io/selected-node': 'b' } }),
      signal(),
    );
    await api.create('Pod', aPod('user', 'data'), signal());
    await until(async () => {
      const { items } = await api.list('Event', {}, signal());
      expect(items.map(({ reason }) => reason)).toContain('ExternalProvisioning');
    });
    expect(await selectedNode()).toBe('b');
  });
});

describe('the kubelet', () => {
  async function boundClaim(spec: object = {}): Promise<void> {
    await api.create('PersistentVolume', aVolume('v', spec), signal());
    await api.create('PersistentVolumeClaim', aClaim('data', { volumeName: 'v', ...spec }), signal());
    await until(async () => expect((await claimNow()).status?.phase).toBe('Bound'));
  }

  it("stages and publishes with kubelet's paths and access mode, and undoes both with the pod", async () => {
    await boundClaim();
    const pod = await api.create('Pod', aPod('user', 'data', { nodeName: 'a' }), signal());
    await isRunning('user');
    expect(publishes).toMatchObject([
      {
        readonly: false,
        capability: { accessMode: 'SINGLE_NODE_MULTI_WRITER', access: { kind: 'mount' } },
        targetPath: `/kubelet/pods/${pod.metadata.uid ?? ''}/volumes/kubernetes.io~csi/v/mount`,
      },
    ]);
    expect(publishes[0]?.stagingTargetPath).toMatch(
      /^\/kubelet\/plugins\/kubernetes\.io\/csi\/loam\.dev\/[0-9a-f]{64}\/globalmount$/,
    );
    await api.remove('Pod', key('user'), signal());
    await until(async () => expect((await api.list('Pod', {}, signal())).items).toEqual([]));
    expect(calls).toEqual(['stage v', 'publish v', 'unpublish v', 'unstage v']);
  });

  it('honours read-only and Block', async () => {
    await boundClaim({ volumeMode: 'Block' });
    const pod = await api.create('Pod', aPod('user', 'data', { nodeName: 'a', readOnly: true }), signal());
    await isRunning('user');
    expect(publishes).toMatchObject([
      {
        readonly: true,
        capability: { access: { kind: 'block' } },
        stagingTargetPath: '/kubelet/plugins/kubernetes.io/csi/volumeDevices/staging/v',
        targetPath: `/kubelet/plugins/kubernetes.io/csi/volumeDevices/publish/v/${pod.metadata.uid ?? ''}`,
      },
    ]);
  });

  it('keeps a volume staged until its last pod is gone', async () => {
    await boundClaim();
    await api.create('Pod', aPod('one', 'data', { nodeName: 'a' }), signal());
    await isRunning('one');
    await api.create('Pod', aPod('two', 'data', { nodeName: 'a' }), signal());
    await isRunning('two');
    await api.remove('Pod', key('one'), signal());
    await until(async () => expect((await api.list('Pod', {}, signal())).items).toHaveLength(1));
    expect(calls.filter((call) => call === 'unstage v')).toEqual([]);
    await api.remove('Pod', key('two'), signal());
    await until(() => expect(calls.at(-1)).toBe('unstage v'));
  });

  it('tells the pod why a mount failed, and tries again', async () => {
    failNext = 'something is in the way';
    await boundClaim();
    await api.create('Pod', aPod('user', 'data', { nodeName: 'a' }), signal());
    await isRunning('user');
    expect(calls[1]).toBe(
      'FailedMount: MountVolume.SetUp failed for volume "v" : rpc error: code = FAILED_PRECONDITION desc = something is in the way',
    );
    expect(calls.at(-1)).toBe('publish v');
  });

  it('stages and publishes running pods once more after its restart', async () => {
    await boundClaim();
    await api.create('Pod', aPod('user', 'data', { nodeName: 'a' }), signal());
    await isRunning('user');
    await kubelet.replay(signal());
    expect(calls).toEqual(['stage v', 'publish v', 'stage v', 'publish v']);
  });
});
