import { afterEach, describe, expect, it } from 'vitest';
import { decideVolumeEnd } from '../../../src/lost-nodes/decide-volume-end.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { minuteMs, World } from './world.ts';

let world: World;
afterEach(() => world.end());

describe('release-after', () => {
  it('writes the tombstone before the PV goes, and says on it what is left where', async () => {
    world = new World('release-after 5m');
    world.dropClaim();
    world.loseNode();
    await world.start();
    await world.pass(5 * minuteMs);
    await world.passSteps(2);
    expect(world.writes()).toEqual([
      'patch PersistentVolume',
      'create ConfigMap',
      'remove PersistentVolume',
      'patch PersistentVolume',
    ]);
    expect(world.volume()).toBeUndefined();
    expect(world.events().join()).toMatch(
      /VolumeLetGo: node node-a has been gone since .*volume pvc-uid-1 of 1Gi in pool pool-1/,
    );
    const [object] = world.api.all('ConfigMap');
    expect(object?.metadata).toMatchObject({ namespace: 'loam', labels: { 'loam.dev/tombstone': 'node-a' } });
    expect(object?.data).toMatchObject({
      volumeId: 'pvc-uid-1',
      poolUuid: 'pool-1',
      persistentVolume: 'pvc-uid-1',
      claimUid: 'uid-1',
      erase: 'yes',
      recreate: 'no',
    });
  });

  it('leaves a claim that is alive and tells its owner once', async () => {
    world = new World('release-after 5m');
    world.loseNode();
    await world.start();
    await world.pass(24 * 60 * minuteMs);
    expect(world.writes()).toEqual(['patch PersistentVolume']);
    const told = world.events().filter((text) => text.includes('bring the node back, or give the data up'));
    expect(told).toHaveLength(1);
    world.dropClaim();
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
  });

  it('does not take a PV that is undeleted in the same moment', async () => {
    world = new World('release-after 5m');
    world.dropClaim();
    world.loseNode();
    await world.start();
    const name = world.volume()?.metadata.name ?? '';
    world.api.before('remove', 'PersistentVolume', () =>
      world.api.edit('PersistentVolume', name, ({ spec }) => {
        spec.claimRef = { namespace: 'shop', name: 'data' };
      }),
    );
    await world.pass(5 * minuteMs);
    await world.passSteps(2);
    expect(world.volume()?.metadata.deletionTimestamp).toBeUndefined();
    expect(world.volume()?.metadata.finalizers).toEqual(
      expect.arrayContaining([expect.stringContaining('external-provisioner')]),
    );
  });

  it('waits out a retention that ends when nobody lives any more', () => {
    const volume = aPersistentVolume({
      metadata: { annotations: { 'loam.dev/retain-for': '100000000d' } },
      status: { phase: 'Released' },
    });
    const nowMs = Date.UTC(2026, 0, 1);
    expect(decideVolumeEnd(volume, nowMs, nowMs)).toMatchObject({
      kind: 'later',
      reason: 'it is retained until 9999-12-31T00:00:00.000Z',
    });
  });

  it.each([
    ['Retain', { spec: { persistentVolumeReclaimPolicy: 'Retain' } }],
    ['no pool named', { spec: { csi: { driver: 'loam.dev', volumeHandle: 'pvc-uid-1' } } }],
    ['no claim ever', { spec: { claimRef: null }, status: { phase: 'Available' } }],
    [
      'undeleted: kept for a claim to come',
      { spec: { claimRef: { namespace: 'shop', name: 'data' } }, status: { phase: 'Available' } },
    ],
    [
      'several nodes',
      {
        spec: {
          nodeAffinity: {
            required: {
              nodeSelectorTerms: [
                {
                  matchExpressions: [
                    { key: 'topology.loam.dev/node', operator: 'In', values: ['node-a', 'node-c'] },
                  ],
                },
              ],
            },
          },
        },
      },
    ],
    ['retained by nonsense', { metadata: { annotations: { 'loam.dev/retained-until': 'soon' } } }],
  ] as const)('leaves a PV that its node would leave: %s', async (_, parts) => {
    world = new World('release-after 5m', parts as never);
    world.dropClaim();
    world.loseNode();
    await world.start();
    await world.pass(24 * 60 * minuteMs);
    await world.passSteps(2);
    world.expectVolumeStays();
    expect(world.tombstones()).toEqual([]);
  });

  it('keeps to what is retained, by its end or by its period', async () => {
    for (const retained of [
      (nowMs: number) => ({ 'loam.dev/retained-until': new Date(nowMs + 60 * minuteMs).toISOString() }),
      () => ({ 'loam.dev/retain-for': '1h' }),
    ]) {
      world = new World('release-after 5m');
      world.annotate(retained(world.clock.nowMs()));
      world.dropClaim();
      world.loseNode();
      await world.start();
      await world.pass(59 * minuteMs);
      world.expectVolumeStays();
      await world.pass(2 * minuteMs);
      await world.passSteps(2);
      expect(world.volume()).toBeUndefined();
      await world.end();
    }
  });

  it('stops where the node is back between two steps, though no watch has said so', async () => {
    world = new World('release-after 5m');
    world.dropClaim();
    world.loseNode();
    await world.start();
    world.api.before('create', 'ConfigMap', () =>
      world.api.put('Node', {
        metadata: { name: 'node-a' },
        status: { conditions: [{ type: 'Ready', status: 'True' }] },
      }),
    );
    await world.pass(5 * minuteMs);
    await world.passSteps(3);
    world.expectVolumeStays();
    expect(world.writes()).not.toContain('remove PersistentVolume');
  });

  it('leaves a PV that was written back from a file with its claim, which is a newer one and names it', async () => {
    world = new World('release-after 10m');
    await world.start();
    world.dropClaim();
    world.api.put(
      'PersistentVolumeClaim',
      aClaim({ metadata: { uid: 'uid-2' }, spec: { volumeName: 'pvc-uid-1' } }),
    );
    world.loseNode();
    await world.pass(20 * minuteMs);
    await world.passSteps();
    world.expectVolumeStays();
    expect(world.tombstones()).toEqual([]);
  });

  it('finishes a PV that somebody deleted while its node was gone', async () => {
    world = new World('release-after 5m');
    world.dropClaim();
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    world.control();
    expect(world.volume()?.metadata.finalizers).toHaveLength(1);
    world.loseNode();
    await world.start();
    await world.pass(5 * minuteMs);
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
    expect(world.tombstones()).toHaveLength(1);
  });
});
