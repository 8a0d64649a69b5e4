import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { ConfinedCluster, create, patch, patchStatus, type Write } from '../../support/confined-cluster.ts';
import { aVolumeOn } from '../../support/node-objects.ts';

const mark = { 'loam.dev/reclaiming': 'uid' };
const byName = { namespace: 'default', name: 'any' };

/** Merge patches name what is to go. */
const clear = { spec: { claimRef: null }, metadata: { annotations: { 'loam.dev/reclaiming': null } } };
const rename = (claimRef: object): object => ({
  spec: { claimRef: { uid: null, resourceVersion: null, ...claimRef } },
});

describe('the policies of a node’s process, at a volume’s end,', () => {
  let cluster: ConfinedCluster;
  beforeAll(async () => {
    cluster = await ConfinedCluster.start(['node-a', 'node-b']);
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  async function released(spec: Partial<PersistentVolume['spec']> = {}): Promise<PersistentVolume> {
    const volume = await cluster.seed('PersistentVolume', aVolumeOn('node-a', spec));
    return cluster
      .as('admin')
      .patch(
        'PersistentVolume',
        { name: volume.metadata.name },
        { type: 'merge', body: { status: { phase: 'Released' } } },
        AbortSignal.timeout(10_000),
        'status',
      );
  }
  const refusal = (write: Write): Promise<string> => cluster.refusalOf('node-a', write);

  it('let a claimRef go after the mark, and not without it', async () => {
    const volume = await released();
    expect(await refusal(patch('PersistentVolume', volume, { spec: { claimRef: null } }))).toMatch(
      /it would change the spec otherwise/,
    );
    expect(await refusal(patch('PersistentVolume', volume, { metadata: { annotations: mark } }))).toBe('');
    expect(await refusal(patch('PersistentVolume', volume, clear))).toBe('');
    const now = await cluster.now('PersistentVolume', volume);
    expect(now.spec.claimRef).toBeUndefined();
    expect(now.metadata.annotations).not.toHaveProperty(['loam.dev/reclaiming']);
  });

  it('let it name a claim without a uid, of a volume that is released and not marked', async () => {
    const volume = await released();
    expect(
      await refusal(patch('PersistentVolume', volume, rename({ name: 'other', uid: 'forged' }))),
    ).toMatch(/names a claim without a uid/);
    expect(await refusal(patch('PersistentVolume', volume, rename({ name: 'other' })))).toBe('');
    const marked = await released();
    expect(await refusal(patch('PersistentVolume', marked, { metadata: { annotations: mark } }))).toBe('');
    expect(await refusal(patch('PersistentVolume', marked, rename({ name: 'other' })))).toMatch(/refused/);
    const bound = await cluster.seed('PersistentVolume', aVolumeOn('node-a'));
    await cluster
      .as('admin')
      .patch(
        'PersistentVolume',
        { name: bound.metadata.name },
        { type: 'merge', body: { status: { phase: 'Bound' } } },
        AbortSignal.timeout(10_000),
        'status',
      );
    expect(await refusal(patch('PersistentVolume', bound, rename({ name: 'other' })))).toMatch(/refused/);
  });

  it('let a policy become the one that keeps the data, and no other', async () => {
    const recycled = await released({ persistentVolumeReclaimPolicy: 'Recycle' });
    const policy = (name: string): object => ({ spec: { persistentVolumeReclaimPolicy: name } });
    expect(await refusal(patch('PersistentVolume', recycled, policy('Delete')))).toMatch(/refused/);
    expect(await refusal(patch('PersistentVolume', recycled, policy('Retain')))).toBe('');
    expect(await refusal(patch('PersistentVolume', recycled, policy('Delete')))).toMatch(/refused/);
    expect(await refusal(patchStatus('PersistentVolume', recycled, policy('Delete')))).not.toMatch(/panic/);
  });

  it('let a PV be made over a volume that was there before: for a claim by its name or for anybody, by its own name', async () => {
    const over = (name: string, spec: Partial<PersistentVolume['spec']>, node = 'node-a'): Write => {
      const csi = { driver: 'loam.dev', volumeHandle: 'old-1' };
      const volume = aVolumeOn(node, { csi, ...spec });
      return create('PersistentVolume', { ...volume, metadata: { ...volume.metadata, name } });
    };
    expect(await refusal(over('adopted-old-1', { claimRef: byName }))).toBe('');
    expect(await refusal(over('old-1-undeleted', { claimRef: byName }))).toBe('');
    const modes = { spec: { accessModes: ['ReadWriteOncePod'] } };
    const offered = await cluster.seed('PersistentVolume', {
      ...aVolumeOn('node-a', { claimRef: byName }),
      metadata: { ...aVolumeOn('node-a').metadata, annotations: { 'loam.dev/adopted': 'by-name' } },
    });
    expect(await refusal(patch('PersistentVolume', offered, modes))).toBe('');
    expect(await refusal(patch('PersistentVolume', await released(), modes))).toMatch(/refused/);
    for (const [name, spec, node] of [
      ['adopted-old-2', { claimRef: byName }],
      ['mine', { claimRef: byName }],
      ['adopted-old-1', { claimRef: { ...byName, uid: 'forged' } }],
      ['adopted-old-1-undeleted', { claimRef: byName }, 'node-b'],
    ] as const) {
      expect(await refusal(over(name, spec, node)), name).toMatch(
        /CREATE of PersistentVolume \S+ by node node-a refused/,
      );
    }
  });
});
