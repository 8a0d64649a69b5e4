import { describe, expect, it } from 'vitest';
import { buildPersistentVolume } from '../../../src/provisioner/build-persistent-volume.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { own } from './own-side.ts';

const volume = {
  volumeId: 'pvc-uid-1',
  capacityBytes: (1n << 30n) + 512n,
  volumeContext: { 'loam.dev/pool-uuid': 'pool-1', 'loam.dev/backend': 'directory' },
  accessibleTopology: [{ 'topology.loam.dev/node': 'node-a' }],
};

function build(input: Partial<Parameters<typeof buildPersistentVolume>[0]> = {}) {
  return buildPersistentVolume({
    claim: aClaim(),
    storageClass: aStorageClass(),
    volume,
    fsType: 'ext4',
    own,
    identity: '1-2-loam.dev-node-a',
    ...input,
  });
}

describe('buildPersistentVolume', () => {
  it('says everything that binding, mounting and reclaiming will need', () => {
    expect(build({ storageClass: aStorageClass({ mountOptions: ['noatime'] }) })).toEqual({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: {
        name: 'pvc-uid-1',
        labels: { 'loam.dev/node': 'node-a' },
        annotations: {
          'pv.kubernetes.io/provisioned-by': 'loam.dev',
          'volume.kubernetes.io/provisioner-deletion-secret-name': '',
          'volume.kubernetes.io/provisioner-deletion-secret-namespace': '',
        },
        finalizers: ['external-provisioner.volume.kubernetes.io/finalizer'],
      },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '1073742336' },
        claimRef: {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          namespace: 'shop',
          name: 'data',
          uid: 'uid-1',
          resourceVersion: '7',
        },
        storageClassName: 'fast',
        volumeMode: 'Filesystem',
        persistentVolumeReclaimPolicy: 'Delete',
        mountOptions: ['noatime'],
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: ['node-a'] }] },
            ],
          },
        },
        csi: {
          driver: 'loam.dev',
          volumeHandle: 'pvc-uid-1',
          fsType: 'ext4',
          volumeAttributes: {
            'storage.kubernetes.io/csiProvisionerIdentity': '1-2-loam.dev-node-a',
            'loam.dev/pool-uuid': 'pool-1',
            'loam.dev/backend': 'directory',
          },
        },
      },
    });
  });

  it('has no finalizer with Retain', () => {
    const built = build({ storageClass: aStorageClass({ reclaimPolicy: 'Retain' }) });
    expect(built.spec.persistentVolumeReclaimPolicy).toBe('Retain');
    expect(built.metadata).not.toHaveProperty('finalizers');
  });

  it('takes the size asked for where the driver tells none', () => {
    expect(build({ volume: { ...volume, capacityBytes: 0n } }).spec.capacity).toEqual({ storage: '1Gi' });
  });

  it('names no file system where there is none to name', () => {
    expect(build({ fsType: '' }).spec.csi).not.toHaveProperty('fsType');
  });

  it('has one term a topology and none without', () => {
    const two = build({ volume: { ...volume, accessibleTopology: [{ b: '2', a: '1' }, { c: '3' }] } });
    expect(two.spec.nodeAffinity?.required?.nodeSelectorTerms).toEqual([
      {
        matchExpressions: [
          { key: 'a', operator: 'In', values: ['1'] },
          { key: 'b', operator: 'In', values: ['2'] },
        ],
      },
      { matchExpressions: [{ key: 'c', operator: 'In', values: ['3'] }] },
    ]);
    expect(build({ volume: { ...volume, accessibleTopology: [] } }).spec).not.toHaveProperty('nodeAffinity');
  });

  it("keeps a claim's block mode and its beta class", () => {
    const claim = aClaim({
      metadata: { annotations: { 'volume.beta.kubernetes.io/storage-class': 'gold' } },
      spec: { volumeMode: 'Block', accessModes: ['ReadWriteOncePod'] },
    });
    expect(build({ claim }).spec).toMatchObject({
      storageClassName: 'gold',
      volumeMode: 'Block',
      accessModes: ['ReadWriteOncePod'],
    });
  });
});
