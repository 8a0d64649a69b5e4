import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { metadataKeys } from '../../../src/model/class-parameters.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const handle = 'pvc-uid-1';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

/** A used volume on the disk, made for claim shop/data of that uid in that cluster. */
async function leave(clusterUid: string): Promise<void> {
  world.driver.make({
    name: handle,
    capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
    capabilities: [
      { accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'mount', fsType: '', mountFlags: [] } },
    ],
    parameters: {
      [metadataKeys.claimNamespace]: 'shop',
      [metadataKeys.claimName]: 'data',
      [metadataKeys.claimUid]: 'uid-1',
      [metadataKeys.clusterUid]: clusterUid,
      [metadataKeys.className]: 'fast',
    },
  });
  await world.driver.acknowledge(handle);
}

/** kubectl get pv -o yaml | kubectl apply, and kube-controller-manager finds no claim of the uid in it. */
function writeBack(parts: Parameters<typeof aPersistentVolume>[0] = {}): PersistentVolume {
  return world.api.put('PersistentVolume', aPersistentVolume({ status: { phase: 'Released' }, ...parts }));
}

const said = (reason: string): string[] => world.events().filter((event) => event.includes(` ${reason}: `));

describe('a PV written back from a file, in a cluster made anew', () => {
  it('with the uid of a claim that this cluster never had, has its data destroyed by nobody', async () => {
    await leave('cluster-0');
    writeBack();
    await world.start();
    await world.pass(120_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.volume()?.metadata).not.toHaveProperty('deletionTimestamp');
    expect(world.volume()?.metadata.annotations).not.toHaveProperty('loam.dev/reclaiming');
    expect(said('VolumeFailedDelete').join('\n')).toMatch(/cluster-0.*loam undelete pvc-uid-1/);
  });

  it('nor has it emptied for the next tenant', async () => {
    await leave('cluster-0');
    const annotations = {
      'pv.kubernetes.io/provisioned-by': 'loam.dev',
      'loam.dev/on-release': 'recycle',
    };
    writeBack({ metadata: { annotations }, spec: { persistentVolumeReclaimPolicy: 'Retain' } });
    await world.start();
    await world.pass(120_000);
    expect(world.driver.recycles).toEqual([]);
    expect(world.volume()?.spec.claimRef).toMatchObject({ uid: 'uid-1' });
    expect(said('VolumeFailedRecycle').join('\n')).toMatch(/cluster-0/);
  });

  it("is this cluster's like any other once a claim has it, and goes with that claim", async () => {
    await leave('cluster-0');
    const claimRef = { namespace: 'shop', name: 'data', uid: 'uid-2' };
    writeBack({ spec: { claimRef }, status: { phase: 'Available' } });
    world.claim({ metadata: { uid: 'uid-2' } });
    await world.start();
    world.bind();
    await world.pass(1_000);
    expect(world.driver.heldOf(handle)).toMatchObject([{ clusterUid: 'cluster-1' }]);
    world.deleteClaim();
    await world.pass(1_000);
    expect(world.driver.volumes.size).toBe(0);
    expect(world.volume()).toBeUndefined();
  });

  it('is reclaimed as ever where its volume is of this cluster', async () => {
    await leave('cluster-1');
    writeBack();
    await world.start();
    await world.pass(1_000);
    expect(world.driver.volumes.size).toBe(0);
  });
});

describe('a released PV that a newer claim of its name asks for by spec.volumeName', () => {
  it('keeps its data while that claim is there', async () => {
    await leave('cluster-1');
    writeBack();
    world.claim({ metadata: { uid: 'uid-2' }, spec: { volumeName: handle } });
    await world.start();
    await world.pass(120_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.volume()?.metadata.annotations).not.toHaveProperty('loam.dev/reclaiming');
    expect(said('VolumeFailedDelete').join('\n')).toMatch(/claim shop\/data .*loam undelete pvc-uid-1/);
    expect(said('VolumeKept').join('\n')).toMatch(
      /earlier claim's .*loam undelete pvc-uid-1 gives it to this/,
    );

    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(120_000);
    expect(world.driver.volumes.size).toBe(0);
  });

  it('loses it where the newer claim asks for none, or for another', async () => {
    await leave('cluster-1');
    writeBack();
    world.claim({ metadata: { uid: 'uid-2' }, spec: { volumeName: 'pvc-other' } });
    await world.start();
    await world.pass(1_000);
    expect(world.driver.volumes.size).toBe(0);
  });
});

describe('a released PV', () => {
  it("is not held up by another driver's PV that happens to have its handle", async () => {
    await leave('cluster-1');
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'theirs', uid: 'pv-uid-2', annotations: {} },
        spec: { csi: { driver: 'theirs.example', volumeHandle: handle } },
      }),
    );
    writeBack();
    await world.start();
    await world.pass(1_000);
    expect(world.driver.volumes.size).toBe(0);
  });

  it("is retained for as long as it says from when it was released, where the node's clock is behind", async () => {
    await leave('cluster-1');
    const releasedMs = world.clock.nowMs() + 48 * 3_600_000;
    const annotations = { 'pv.kubernetes.io/provisioned-by': 'loam.dev', 'loam.dev/retain-for': '24h' };
    writeBack({
      metadata: { annotations },
      status: { phase: 'Released', lastPhaseTransitionTime: new Date(releasedMs).toISOString() },
    });
    await world.start();
    await world.pass(1_000);
    expect(world.volume()?.metadata.annotations?.['loam.dev/retained-until']).toBe(
      new Date(releasedMs + 24 * 3_600_000).toISOString(),
    );
  });

  it('that is not to be retained goes at once, though it was released later than now by the clock of the node', async () => {
    await leave('cluster-1');
    const lastPhaseTransitionTime = new Date(world.clock.nowMs() + 48 * 3_600_000).toISOString();
    writeBack({ status: { phase: 'Released', lastPhaseTransitionTime } });
    await world.start();
    await world.pass(1_000);
    expect(said('VolumeRetained')).toEqual([]);
    expect(world.driver.volumes.size).toBe(0);
  });

  it('of the same name, made anew while the data of the one before was going, keeps its finalizer', async () => {
    await leave('cluster-1');
    const finalizers = ['external-provisioner.volume.kubernetes.io/finalizer'];
    writeBack({ metadata: { deletionTimestamp: 'now', finalizers } });
    world.driver.onDelete = () => {
      world.driver.onDelete = undefined;
      world.api.edit('PersistentVolume', handle, ({ metadata }) => void (metadata.finalizers = []));
      const claimRef = { namespace: 'shop', name: 'other', uid: 'uid-3' };
      writeBack({
        metadata: { uid: 'pv-uid-9', finalizers },
        spec: { claimRef },
        status: { phase: 'Available' },
      });
    };
    await world.start();
    await world.pass(5_000);
    expect(world.volume()?.metadata).toMatchObject({ uid: 'pv-uid-9', finalizers });
  });
});
