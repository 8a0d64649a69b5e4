import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import {
  ConfinedCluster,
  create,
  patch,
  patchStatus,
  remove,
  type Write,
} from '../../support/confined-cluster.ts';
import { aClaimFor, selectedNode } from '../../support/node-objects.ts';

describe('the policies that confine a node’s process', () => {
  let cluster: ConfinedCluster;
  beforeAll(async () => {
    cluster = await ConfinedCluster.start(['node-a', 'node-b']);
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  async function expectRefused(who: string, write: Write, text = /./): Promise<void> {
    const refusal = await cluster.refusalOf(who, write);
    expect(refusal).toMatch(/denied request: (CREATE|UPDATE|DELETE) of \w+ \S+ /);
    expect(refusal).toMatch(text);
  }

  describe('hold a claim', () => {
    it.each([
      ['another node’s', 'node-b'],
      ['nobody’s yet', undefined],
    ])('that is %s against every write', async (_, node) => {
      const claim = await cluster.seed('PersistentVolumeClaim', aClaimFor(node, cluster.freshName('claim')));
      const where =
        /PersistentVolumeClaim claim-\d+ by node node-a refused: its volume.kubernetes.io\/selected-node/;
      for (const write of [
        patch('PersistentVolumeClaim', claim, { metadata: { annotations: { 'loam.dev/any': 'x' } } }),
        patch('PersistentVolumeClaim', claim, { metadata: { labels: { 'loam.dev/node': 'x' } } }),
        patch('PersistentVolumeClaim', claim, { metadata: { annotations: { [selectedNode]: null } } }),
        patch('PersistentVolumeClaim', claim, { metadata: { annotations: { [selectedNode]: 'node-a' } } }),
        patch('PersistentVolumeClaim', claim, { metadata: { finalizers: [] } }),
        patch('PersistentVolumeClaim', claim, { spec: { volumeName: 'mine' } }),
        patchStatus('PersistentVolumeClaim', claim, { status: { phase: 'Lost' } }),
        patchStatus('PersistentVolumeClaim', claim, { metadata: { annotations: { 'loam.dev/any': 'x' } } }),
      ]) {
        await expectRefused('node-a', write, where);
      }
      const never = /nodes neither make nor delete claims/;
      await expectRefused('node-a', remove('PersistentVolumeClaim', claim), never);
      expect(await cluster.now('PersistentVolumeClaim', claim)).toEqual(claim);
    });

    const growth = {
      capacity: { storage: '2Mi' },
      allocatedResources: { storage: '2Mi' },
      allocatedResourceStatuses: { storage: 'NodeResizePending' },
      conditions: [{ type: 'Resizing', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }],
    };
    const cloning = 'provisioner.storage.kubernetes.io/cloning-protection';

    async function bound(node: string | undefined): Promise<PersistentVolumeClaim> {
      const claim = aClaimFor(node, cluster.freshName('claim'));
      claim.spec.volumeName = 'pv-any';
      const made = await cluster.seed('PersistentVolumeClaim', claim);
      const status = { phase: 'Bound', capacity: { storage: '1Mi' }, accessModes: ['ReadWriteOnce'] };
      await patchStatus('PersistentVolumeClaim', made, { status })(cluster.as('admin'));
      return cluster.now('PersistentVolumeClaim', made);
    }

    it.each([
      ['with its volume', 'node-a'],
      ['of a volume that no node was selected for', undefined],
    ])('%s open to what growth, modification and cloning write', async (_, node) => {
      const claim = await bound(node);
      const own = cluster.as('node-a');
      await patchStatus('PersistentVolumeClaim', claim, { status: growth })(own);
      const note = { 'volume.kubernetes.io/node-expansion-not-required': 'true' };
      await patchStatus('PersistentVolumeClaim', claim, { metadata: { annotations: note } })(own);
      const modified = {
        currentVolumeAttributesClassName: 'gold',
        modifyVolumeStatus: { targetVolumeAttributesClassName: 'gold', status: 'InProgress' },
      };
      await patchStatus('PersistentVolumeClaim', claim, { status: modified })(own);
      const finalizers = [...(claim.metadata.finalizers ?? []), cloning];
      await patch('PersistentVolumeClaim', claim, { metadata: { finalizers } })(own);
      const now = await cluster.now('PersistentVolumeClaim', claim);
      expect(now.metadata.finalizers).toContain(cloning);
      expect(now.status?.capacity).toEqual({ storage: '2Mi' });
      const off = { metadata: { finalizers: claim.metadata.finalizers ?? [] } };
      await patch('PersistentVolumeClaim', claim, off)(own);
    });

    it.each([
      ['with its volume', 'node-a'],
      ['of a volume that no node was selected for', undefined],
    ])('%s against everything else', async (_, node) => {
      const claim = await bound(node);
      for (const status of [{ phase: 'Lost' }, { accessModes: ['ReadWriteMany'] }]) {
        await expectRefused(
          'node-a',
          patchStatus('PersistentVolumeClaim', claim, { status: { ...growth, ...status } }),
          /it would change the status otherwise than a growth/,
        );
      }
      for (const metadata of [
        { finalizers: [] },
        { finalizers: [cloning] },
        { annotations: { 'volume.kubernetes.io/storage-resizer': 'other.dev' } },
        { labels: { app: 'other' } },
      ])
        await expectRefused('node-a', patch('PersistentVolumeClaim', claim, { metadata }));
      const larger = { spec: { resources: { requests: { storage: '5Mi' } } } };
      await expectRefused('node-a', patch('PersistentVolumeClaim', claim, larger), /change the spec/);
      if (node === undefined) {
        const label = patch('PersistentVolumeClaim', claim, {
          metadata: { labels: { 'loam.dev/node': 'node-a' } },
        });
        await expectRefused('node-a', label, /no node was selected for it, so that none writes labels/);
      } else await expectRefused('node-b', patchStatus('PersistentVolumeClaim', claim, { status: growth }));
    });

    it('that waits for it against what its process never does', async () => {
      const claim = await cluster.seed(
        'PersistentVolumeClaim',
        aClaimFor('node-a', cluster.freshName('claim')),
      );
      const metadata = /of its metadata only loam.dev\//;
      for (const change of [
        { annotations: { [selectedNode]: 'node-b' } },
        { annotations: { 'volume.kubernetes.io/storage-provisioner': 'other.dev' } },
        { annotations: { app: null } },
        { labels: { app: 'other' } },
        { labels: { app: null } },
        { finalizers: ['example.dev/stay'] },
        { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'any' }] },
      ]) {
        await expectRefused('node-a', patch('PersistentVolumeClaim', claim, { metadata: change }), metadata);
      }
      const spec = { spec: { volumeName: 'mine' } };
      await expectRefused('node-a', patch('PersistentVolumeClaim', claim, spec), /it would change the spec/);
      for (const status of [{ phase: 'Lost' }, growth]) {
        await expectRefused(
          'node-a',
          patchStatus('PersistentVolumeClaim', claim, { status }),
          /it would change the status otherwise/,
        );
      }
      const never = /nodes neither make nor delete claims/;
      await expectRefused('node-a', remove('PersistentVolumeClaim', claim), never);
      await expectRefused('node-a', create('PersistentVolumeClaim', aClaimFor('node-a', 'forged')), never);
      expect(await cluster.now('PersistentVolumeClaim', claim)).toEqual(claim);
    });

    it('that waits for it open to being given back to the scheduler, whatever else is written on it', async () => {
      const many = Object.fromEntries(
        Array.from({ length: 2_000 }, (_, n) => [`example.dev/a${n}`, 'x'.repeat(80)]),
      );
      const claim = aClaimFor('node-a', cluster.freshName('claim'));
      Object.assign(claim.metadata.annotations ?? {}, many);
      const there = await cluster.seed('PersistentVolumeClaim', claim);
      const body = { metadata: { annotations: { [selectedNode]: null, 'loam.dev/any': 'x' } } };
      await patch('PersistentVolumeClaim', there, body)(cluster.as('node-a'));
      const now = await cluster.now('PersistentVolumeClaim', there);
      expect(now.metadata.annotations).not.toHaveProperty([selectedNode]);
    });
  });
});
