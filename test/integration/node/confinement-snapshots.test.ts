import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VolumeSnapshot, VolumeSnapshotContent } from '../../../src/kube/objects.ts';
import {
  ConfinedCluster,
  create,
  patch,
  patchStatus,
  type PolicyStatus,
  remove,
  type Write,
} from '../../support/confined-cluster.ts';
import { eventually } from '../../support/eventually.ts';

const restoring = 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection';
const contentFinalizer = 'snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection';
const creating = 'snapshot.storage.kubernetes.io/volumesnapshot-being-created';
const group = 'snapshot.storage.k8s.io/v1';

describe('the policies that confine a node’s process, where snapshots are installed,', () => {
  let cluster: ConfinedCluster;
  beforeAll(async () => {
    cluster = await ConfinedCluster.start(['node-a', 'node-b'], true);
    // the API server reads new policies once a second or so
    for (const [kind, object] of [
      ['VolumeSnapshot', await seedSnapshot()],
      ['VolumeSnapshotContent', await seedContent('node-b')],
    ] as const) {
      await eventually(`the policy for ${kind}`, async () => {
        return (await cluster.refusalOf('nobody', patch(kind, object, {}))) !== '';
      });
    }
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  function seedSnapshot(): Promise<VolumeSnapshot> {
    return cluster.seed('VolumeSnapshot', {
      apiVersion: group,
      kind: 'VolumeSnapshot',
      metadata: {
        name: cluster.freshName('snapshot'),
        namespace: 'default',
        labels: { app: 'shop' },
        finalizers: ['example.dev/stay'],
      },
      spec: { source: { persistentVolumeClaimName: 'any' } },
    });
  }

  async function seedContent(node?: string, driver = 'loam.dev'): Promise<VolumeSnapshotContent> {
    const name = cluster.freshName('content');
    return cluster.seed('VolumeSnapshotContent', {
      apiVersion: group,
      kind: 'VolumeSnapshotContent',
      metadata: {
        name,
        labels: { app: 'shop', ...(node === undefined ? {} : { 'loam.dev/node': node }) },
        finalizers: [contentFinalizer],
      },
      spec: {
        deletionPolicy: 'Delete',
        driver,
        source: { volumeHandle: 'any' },
        volumeSnapshotRef: { namespace: 'default', name, uid: name },
      },
    });
  }

  async function expectRefused(who: string, write: Write, text = /./): Promise<void> {
    const refusal = await cluster.refusalOf(who, write);
    expect(refusal).toMatch(/denied request: (CREATE|UPDATE|DELETE) of \w+ \S+ /);
    expect(refusal).toMatch(text);
  }

  it('are understood by the API server without a warning', async () => {
    const said = await eventually('the policies to be type-checked', async () => {
      const list = await cluster.kubectl.run('get', 'validatingadmissionpolicies', '-o', 'json');
      const { items } = JSON.parse(list) as { items: PolicyStatus[] };
      return items.every(({ status }) => status?.typeChecking !== undefined) && items;
    });
    expect(said.map(({ status }) => status?.typeChecking)).toEqual(said.map(() => ({})));
  });

  it('let it protect a snapshot and end that, and nothing else', async () => {
    const snapshot = await seedSnapshot();
    const own = cluster.as('node-a');
    const finalizers = ['example.dev/stay', restoring];
    await patch('VolumeSnapshot', snapshot, { metadata: { finalizers } })(own);
    await patch('VolumeSnapshot', snapshot, { metadata: { finalizers: ['example.dev/stay'] } })(own);
    const only = /only the finalizer provisioner\.storage\.kubernetes\.io\/volumesnapshot-as-source/;
    for (const change of [
      { metadata: { finalizers: [] } },
      { metadata: { finalizers: [restoring] } },
      { metadata: { finalizers: ['example.dev/stay', 'example.dev/more'] } },
      { metadata: { labels: { app: 'other' } } },
      { metadata: { annotations: { 'loam.dev/any': 'x' } } },
      { metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'any' }] } },
      { spec: { volumeSnapshotClassName: 'other' } },
    ])
      await expectRefused('node-a', patch('VolumeSnapshot', snapshot, change), only);
    const status = { status: { readyToUse: true } };
    await expectRefused('node-a', patchStatus('VolumeSnapshot', snapshot, status), only);
    const never = /nodes neither make nor delete snapshots/;
    await expectRefused('node-a', remove('VolumeSnapshot', snapshot), never);
    const forged = { ...snapshot, metadata: { name: 'forged', namespace: 'default' } };
    await expectRefused('node-a', create('VolumeSnapshot', forged), never);
  });

  const ready = { status: { snapshotHandle: 's', readyToUse: true, creationTime: 1, restoreSize: 1 } };

  it('let it take a content that nobody has, tell of it and let it go', async () => {
    const content = await seedContent();
    const own = cluster.as('node-a');
    // not before it is taken
    await expectRefused('node-a', patchStatus('VolumeSnapshotContent', content, ready), /its label/);
    const taken = { labels: { 'loam.dev/node': 'node-a' }, annotations: { [creating]: 'yes' } };
    await patch('VolumeSnapshotContent', content, { metadata: taken })(own);
    await patchStatus('VolumeSnapshotContent', content, ready)(own);
    const done = { annotations: { [creating]: null, 'loam.dev/consistency': 'frozen' } };
    await patch('VolumeSnapshotContent', content, { metadata: done })(own);
    await patch('VolumeSnapshotContent', content, { metadata: { finalizers: [] } })(own);
    const now = await cluster.now('VolumeSnapshotContent', content);
    expect(now.status).toMatchObject(ready.status);
    expect(now.metadata.finalizers).toBeUndefined();
  });

  it('hold a content that another node has, and one of another driver, against every write', async () => {
    const theirs = await seedContent('node-b');
    const alien = await seedContent('node-a', 'other.dev');
    for (const [content, why] of [
      [theirs, /its label loam\.dev\/node is not that node/],
      [alien, /it is not of the driver loam\.dev/],
    ] as const) {
      for (const write of [
        patch('VolumeSnapshotContent', content, { metadata: { labels: { 'loam.dev/node': 'node-a' } } }),
        patch('VolumeSnapshotContent', content, { metadata: { annotations: { [creating]: 'yes' } } }),
        patch('VolumeSnapshotContent', content, { metadata: { finalizers: [] } }),
        patchStatus('VolumeSnapshotContent', content, ready),
      ]) {
        await expectRefused('node-a', write, why);
      }
    }
  });

  it('hold its own against what its process never does', async () => {
    const content = await seedContent('node-a');
    for (const metadata of [
      { labels: { 'loam.dev/node': 'node-b' } },
      { labels: { 'loam.dev/node': null } },
      { labels: { app: 'other' } },
      { annotations: { 'snapshot.storage.kubernetes.io/allow-volume-mode-change': 'true' } },
      { annotations: { 'snapshot.storage.kubernetes.io/volumesnapshot-being-deleted': 'yes' } },
      { finalizers: ['example.dev/stay', contentFinalizer] },
    ])
      await expectRefused('node-a', patch('VolumeSnapshotContent', content, { metadata }));
    const policy = { spec: { deletionPolicy: 'Retain' } };
    await expectRefused('node-a', patch('VolumeSnapshotContent', content, policy), /change the spec/);
    const never = /nodes neither make nor delete contents/;
    await expectRefused('node-a', remove('VolumeSnapshotContent', content), never);
    const { status: _, ...rest } = content;
    const forged = { ...rest, metadata: { name: 'forged', labels: { 'loam.dev/node': 'node-a' } } };
    await expectRefused('node-a', create('VolumeSnapshotContent', forged), never);
  });

  it('leave everybody else alone', async () => {
    for (const who of ['other', 'admin']) {
      const content = await seedContent('node-b');
      const relabel = { metadata: { labels: { 'loam.dev/node': 'node-a' } } };
      expect(await cluster.refusalOf(who, patch('VolumeSnapshotContent', content, relabel))).toBe('');
      expect(await cluster.refusalOf(who, patchStatus('VolumeSnapshotContent', content, ready))).toBe('');
      const snapshot = await seedSnapshot();
      expect(await cluster.refusalOf(who, remove('VolumeSnapshot', snapshot))).toBe('');
    }
  });
});
