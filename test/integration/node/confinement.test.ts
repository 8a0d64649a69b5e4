import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { labelValueOf } from '../../../src/model/topology-value.ts';
import {
  ConfinedCluster,
  create,
  patch,
  patchStatus,
  remove,
  type PolicyStatus,
  type Write,
} from '../../support/confined-cluster.ts';
import { eventually } from '../../support/eventually.ts';
import {
  affinityOf,
  aCapacityOf,
  aClaimFor,
  anEventBy,
  aVolumeOn,
  loamNamespace,
  selectedNode,
  topologyKey,
  twoTerms,
} from '../../support/node-objects.ts';

const finalizer = 'external-provisioner.volume.kubernetes.io/finalizer';
/** of more than 63 characters; they differ within the first 52 */
const longName = `long-a-${'x'.repeat(60)}.example`;
const otherLongName = `long-b-${'x'.repeat(60)}.example`;
const nodes = ['node-a', 'node-b', 'node-ab', longName, otherLongName];
const policies = [
  'capacity',
  'claims',
  'events',
  'snapshot-contents',
  'snapshots',
  'tombstones',
  'volumes',
].map((each) => `loam-node-${each}`);

describe('the policies that confine a node’s process', () => {
  let cluster: ConfinedCluster;
  beforeAll(async () => {
    cluster = await ConfinedCluster.start(nodes);
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  async function expectRefused(who: string, write: Write, text = /./): Promise<void> {
    const refusal = await cluster.refusalOf(who, write);
    expect(refusal).toMatch(/denied request: (CREATE|UPDATE|DELETE) of \w+ \S+ /);
    expect(refusal).toMatch(text);
  }

  it('are understood by the API server without a warning, though it has no snapshots', async () => {
    const said = await eventually('the policies to be type-checked', async () => {
      const list = await cluster.kubectl.run('get', 'validatingadmissionpolicies', '-o', 'json');
      const { items } = JSON.parse(list) as { items: PolicyStatus[] };
      const checked = items.filter(({ status }) => status?.typeChecking !== undefined);
      return checked.length === policies.length && items;
    });
    expect(said.map(({ metadata }) => metadata.name)).toEqual(policies);
    for (const { status } of said) expect(status?.typeChecking).toEqual({});
  });

  describe('hold a PV that is', () => {
    const mark = { metadata: { annotations: { 'loam.dev/reclaiming': 'uid' } } };

    it('another node’s against every write', async () => {
      const volume = await cluster.seed('PersistentVolume', aVolumeOn('node-b'));
      const where =
        /PersistentVolume pvc-\S+ by node node-a refused: its nodeAffinity is not that node alone/;
      const affinity = { spec: { nodeAffinity: aVolumeOn('node-a').spec.nodeAffinity } };
      for (const write of [
        create('PersistentVolume', aVolumeOn('node-b')),
        patch('PersistentVolume', volume, mark),
        patch('PersistentVolume', volume, { metadata: { labels: { 'loam.dev/node': 'node-a' } } }),
        patch('PersistentVolume', volume, { metadata: { finalizers: [finalizer] } }, 'strategic'),
        patch('PersistentVolume', volume, affinity),
        patch('PersistentVolume', volume, { spec: { persistentVolumeReclaimPolicy: 'Delete' } }),
        patchStatus('PersistentVolume', volume, { status: { phase: 'Released' } }),
        patchStatus('PersistentVolume', volume, { metadata: affinity }),
        remove('PersistentVolume', volume),
      ]) {
        await expectRefused('node-a', write, where);
        await expectRefused('node-ab', write);
      }
      await expect(
        cluster.kubectl.as(
          cluster.kubeconfigPathOf('node-a'),
          'delete',
          '--raw',
          '/api/v1/persistentvolumes',
        ),
      ).rejects.toThrow(/node-a refused/);
      expect(await cluster.now('PersistentVolume', volume)).toEqual(volume);
    });

    it('its own and labelled for another against who put the label there', async () => {
      const made = await cluster.seed('PersistentVolume', aVolumeOn('node-a'));
      const relabel = patch('PersistentVolume', made, {
        metadata: { labels: { 'loam.dev/node': 'node-b' } },
      });
      await expectRefused('node-a', relabel, /its label loam.dev\/node names another node/);
      expect(await cluster.refusalOf('admin', relabel)).toBe('');
      expect(await cluster.refusalOf('node-a', patch('PersistentVolume', made, mark))).toBe('');
    });

    it.each<[string, Partial<PersistentVolume['spec']> | 'without affinity', string?]>([
      ['of no node', 'without affinity'],
      ['of no node by its term', { nodeAffinity: { required: { nodeSelectorTerms: [{}] } } }],
      ['of two nodes by its terms', twoTerms('node-a', 'node-b')],
      [
        'of two nodes by a term’s values',
        affinityOf([{ key: topologyKey, operator: 'In', values: ['node-a', 'node-b'] }]),
      ],
      ['of all nodes but its own', affinityOf([{ key: topologyKey, operator: 'NotIn', values: ['node-a'] }])],
      [
        'of its node and something else',
        affinityOf([
          { key: topologyKey, operator: 'In', values: ['node-a'] },
          { key: 'zone', operator: 'Exists' },
        ]),
      ],
      [
        'of its node by another key',
        affinityOf([{ key: 'kubernetes.io/hostname', operator: 'In', values: ['node-a'] }]),
      ],
      ['another driver’s', { csi: { driver: 'other.dev', volumeHandle: 'v' } }],
      ...['nodeStage', 'nodePublish', 'nodeExpand', 'controllerPublish', 'controllerExpand'].map(
        (role): [string, Partial<PersistentVolume['spec']>] => [
          `with a Secret for ${role}, which its kubelet could then read,`,
          {
            csi: {
              driver: 'loam.dev',
              volumeHandle: '',
              [`${role}SecretRef`]: { namespace: 'kube-system', name: 'any' },
            },
          },
        ],
      ),
      ['over another volume than its claim’s', { csi: { driver: 'loam.dev', volumeHandle: 'pvc-other' } }],
      ['for no claim', { claimRef: { namespace: 'default', name: 'any' } }],
      ['of another name than its claim’s', {}, 'some'],
    ])('%s against being made', async (what, spec, name) => {
      const volume = aVolumeOn('node-a', spec === 'without affinity' ? {} : spec);
      if (spec === 'without affinity') delete volume.spec.nodeAffinity;
      // as its process would, but for the Secret
      if (volume.spec.csi?.volumeHandle === '')
        Object.assign(volume.spec.csi, { volumeHandle: volume.metadata.name });
      const metadata = { ...volume.metadata, ...(name === undefined ? {} : { name }) };
      await expectRefused('node-a', create('PersistentVolume', { ...volume, metadata }));
      if (name !== undefined || (spec !== 'without affinity' && spec.claimRef !== undefined)) return;
      // what an administrator made is the node's own all the same
      if (/^(with a Secret|over another volume)/.test(what)) return;
      // and once it is there, against every other write
      const there = await cluster.seed('PersistentVolume', volume);
      await expectRefused('node-a', patch('PersistentVolume', there, mark));
      await expectRefused('node-a', remove('PersistentVolume', there));
    });

    it('its own against what its process never does', async () => {
      const volume = await cluster.seed('PersistentVolume', aVolumeOn('node-a'));
      const refuse = (write: Write, text: RegExp) => expectRefused('node-a', write, text);
      const spec =
        /UPDATE of PersistentVolume pvc-\S+ by node node-a refused: it would change the spec otherwise/;
      await refuse(patch('PersistentVolume', volume, { spec: { claimRef: null } }), spec);
      await refuse(patch('PersistentVolume', volume, { spec: { capacity: { storage: '1048575' } } }), spec);
      const both = { capacity: { storage: '1Gi' }, mountOptions: ['suid'] };
      await refuse(patch('PersistentVolume', volume, { spec: both }), spec);
      await refuse(patch('PersistentVolume', volume, { spec: { mountOptions: ['suid'] } }), spec);
      await refuse(
        patch('PersistentVolume', volume, { spec: { nodeAffinity: aVolumeOn('node-b').spec.nodeAffinity } }),
        /nodeAffinity is not that node alone/,
      );
      const metadata = /of its metadata only loam.dev\//;
      const owner = { apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'any' };
      for (const change of [
        { annotations: { 'pv.kubernetes.io/provisioned-by': 'other.dev' } },
        { annotations: { 'pv.kubernetes.io/provisioned-by': null } },
        { annotations: { 'pv.kubernetes.io/bound-by-controller': 'yes' } },
        { labels: { app: 'mine' } },
        { ownerReferences: [owner] },
        { finalizers: ['example.dev/stay', finalizer, 'kubernetes.io/pv-protection'] },
        { finalizers: [finalizer] },
      ]) {
        await refuse(patch('PersistentVolume', volume, { metadata: change }), metadata);
        await refuse(patchStatus('PersistentVolume', volume, { metadata: change }), metadata);
      }
    });

    it('its own open to what its process does', async () => {
      const own = cluster.as('node-a');
      const volume = aVolumeOn('node-a');
      await create('PersistentVolume', volume)(own);
      await patchStatus('PersistentVolume', volume, { status: { phase: 'Bound' } })(own);
      await patch('PersistentVolume', volume, mark)(own);
      await patch('PersistentVolume', volume, { metadata: { annotations: { 'loam.dev/reclaiming': null } } })(
        own,
      );
      const noted = (text: string | null) => ({ 'volume.alpha.kubernetes.io/pre-resize-capacity': text });
      const grown = { metadata: { annotations: noted('1Mi') }, spec: { capacity: { storage: '1.5Mi' } } };
      await patch('PersistentVolume', volume, grown)(own);
      await patch('PersistentVolume', volume, {
        metadata: { annotations: noted(null) },
        spec: { capacity: { storage: '2Gi' }, volumeAttributesClassName: 'gold' },
      })(own);
      const off = { metadata: { '$deleteFromPrimitiveList/finalizers': [finalizer] } };
      await patch('PersistentVolume', volume, off, 'strategic')(own);
      await patch('PersistentVolume', volume, { metadata: { finalizers: [finalizer] } }, 'strategic')(own);
      await remove('PersistentVolume', volume)(own);
      await patch('PersistentVolume', volume, off, 'strategic')(own);
    });
  });

  it.each(['CSIStorageCapacity', 'Event'] as const)(
    'hold another node’s %s against every write',
    async (kind) => {
      const of = (node: string, name = cluster.freshName('any')) =>
        kind === 'Event' ? anEventBy(node, name) : aCapacityOf(node, name);
      const theirs = await cluster.seed(kind, of('node-b'));
      const named = new RegExp(`${kind} (any-|csisc-)\\S+ by node node-a refused: it`);
      await expectRefused('node-a', create(kind, of('node-b')), named);
      await expectRefused('node-a', patch(kind, theirs, { metadata: { labels: { a: 'b' } } }), named);
      await expectRefused('node-a', remove(kind, theirs), named);
      // neither given to another node nor taken from it
      const asOwn = kind === 'Event' ? anEventBy('node-a', 'x') : aCapacityOf('node-a', 'x');
      const { metadata: _, ...rest } = asOwn;
      if (kind === 'Event') await expectRefused('node-a', patch(kind, theirs, rest), named);

      const own = cluster.as('node-a');
      const mine = of('node-a');
      await create(kind, mine)(own);
      await patch(kind, mine, kind === 'Event' ? { count: 2 } : { capacity: '2Gi' })(own);
      const { metadata: __, ...theirRest } = of('node-b');
      if (kind === 'Event') await expectRefused('node-a', patch(kind, mine, theirRest), named);
      await remove(kind, mine)(own);
      expect(await cluster.now(kind, theirs)).toEqual(theirs);
    },
  );

  it('hold events and capacity objects against half the truth', async () => {
    const event = anEventBy('node-a', 'half');
    for (const wrong of [
      { source: { component: 'loam.dev', host: 'node-b' } },
      { source: { component: 'kubelet', host: 'node-a' } },
      { reportingInstance: 'node-b' },
      { reportingComponent: 'kubelet' },
      { source: {} },
    ]) {
      await expectRefused(
        'node-a',
        create('Event', { ...event, ...wrong }),
        /it is not by loam.dev on that node/,
      );
    }
    const capacity = aCapacityOf('node-a', 'half');
    const other = aCapacityOf('node-b', 'half');
    const hash = /[^-]+$/.exec(other.metadata.name)?.[0] ?? '';
    const owner = { apiVersion: 'v1', kind: 'Node', name: 'node-b', uid: 'any' };
    for (const wrong of [
      { nodeTopology: {} },
      { nodeTopology: { matchLabels: { [topologyKey]: 'node-a', zone: 'z' } } },
      { nodeTopology: { matchExpressions: [{ key: topologyKey, operator: 'Exists' }] } },
      { metadata: { ...capacity.metadata, ownerReferences: [owner] } },
      { metadata: { ...capacity.metadata, labels: { 'loam.dev/node': 'node-b' } } },
      { metadata: { ...capacity.metadata, ownerReferences: [] } },
      // names that another node's process would need
      { metadata: { ...capacity.metadata, name: other.metadata.name } },
      { metadata: { ...capacity.metadata, name: `csisc-${hash}` } },
      { metadata: { ...capacity.metadata, name: `csisc-node-a-b-${hash}` } },
    ]) {
      await expectRefused('node-a', create('CSIStorageCapacity', { ...capacity, ...wrong }));
    }
  });

  it('tell nodes with long names apart by the first 52 characters, and a capacity object’s owner by all', async () => {
    await create('PersistentVolume', aVolumeOn(longName))(cluster.as(longName));
    await create('CSIStorageCapacity', aCapacityOf(longName, 'long'))(cluster.as(longName));
    for (const node of [otherLongName, 'node-a', longName.slice(0, 52), `${longName.slice(0, 52)}-b`]) {
      await expectRefused(longName, create('PersistentVolume', aVolumeOn(node)));
      await expectRefused(longName, create('CSIStorageCapacity', aCapacityOf(node, 'forged')));
    }
    await expectRefused('node-a', create('PersistentVolume', aVolumeOn(longName)));
    // nothing here can compute the hash
    const alike = `${longName}.elsewhere`;
    expect(labelValueOf(alike)).not.toBe(labelValueOf(longName));
    await create('PersistentVolume', aVolumeOn(alike))(cluster.as(longName));
    await expectRefused(longName, create('CSIStorageCapacity', aCapacityOf(alike, 'forged')));
  });

  it('take the node from the pod that a token was made for, and refuse a token without one everything', async () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'loam-node-x', namespace: loamNamespace },
      spec: {
        nodeName: 'node-a',
        serviceAccountName: 'loam-node',
        containers: [{ name: 'loam', image: 'loam' }],
      },
    };
    await cluster.kubectl.create(pod);
    await cluster.addPodAccount(pod.metadata.name);
    await create('PersistentVolume', aVolumeOn('node-a'))(cluster.as(pod.metadata.name));
    await expectRefused(
      pod.metadata.name,
      create('PersistentVolume', aVolumeOn('node-b')),
      /by node node-a refused/,
    );

    const nameless = /the token of loam-node names no node; it has to be one that kubelet got for a pod/;
    const writes: readonly Write[] = [
      create('PersistentVolume', aVolumeOn('node-a')),
      create('PersistentVolume', aVolumeOn('')),
      create('PersistentVolumeClaim', aClaimFor(undefined, 'nameless')),
      create('CSIStorageCapacity', aCapacityOf('node-a', 'nameless')),
      create('Event', anEventBy('node-a', 'nameless')),
      patch(
        'PersistentVolumeClaim',
        await cluster.seed('PersistentVolumeClaim', aClaimFor(undefined, cluster.freshName('claim'))),
        {},
      ),
      remove('PersistentVolume', await cluster.seed('PersistentVolume', aVolumeOn('node-a'))),
    ];
    for (const write of writes) await expectRefused('nobody', write, nameless);
  });

  it('leave everybody else alone', async () => {
    for (const who of ['other', 'admin']) {
      const volume = aVolumeOn('node-b');
      const claim = aClaimFor('node-b', cluster.freshName('claim'));
      const elsewhere = { metadata: { annotations: { [selectedNode]: 'node-a' } } };
      for (const write of [
        create('PersistentVolume', volume),
        patch('PersistentVolume', volume, { metadata: { labels: { app: 'x' } } }),
        remove('PersistentVolume', volume),
        create('PersistentVolumeClaim', claim),
        patch('PersistentVolumeClaim', claim, elsewhere),
        remove('PersistentVolumeClaim', claim),
      ]) {
        expect(await cluster.refusalOf(who, write)).toBe('');
      }
    }
  });
});
