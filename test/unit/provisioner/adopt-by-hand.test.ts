import { beforeEach, describe, expect, it } from 'vitest';
import { buildTombstone, type Tombstone } from '../../../src/claims/tombstone.ts';
import type { AdoptedVolume, HeldVolume } from '../../../src/model/volume-ledger.ts';
import { adoptedName } from '../../../src/provisioner/adoption/build-adopted-volume.ts';
import { HandAdoption, type HandAdoptionRequest } from '../../../src/provisioner/orphans/adopt-by-hand.ts';
import { decideTombstone } from '../../../src/provisioner/tombstones/decide-tombstone.ts';
import { Orphans } from '../../../src/provisioner/orphans/orphans.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { aHeldVolume } from '../../support/held-volumes.ts';

const own = {
  driverName: 'loam.dev',
  nodeName: 'node-a',
  topologyValue: 'node-a',
  segments: { 'topology.loam.dev/node': 'node-a' },
  ownDriver: true,
};
const claim = { namespace: 'shop', name: 'data' };
const stone: Tombstone = {
  driverName: 'loam.dev',
  volumeId: 'pvc-uid-1',
  poolUuid: 'pool-1',
  topologyValue: 'node-a',
  volumeName: 'pvc-uid-1',
  volumeUid: 'pv-uid-1',
  claim: { ...claim, uid: 'uid-1' },
  letGoAt: '2026-01-01T00:00:00Z',
  why: 'its node was lost',
  mayErase: true,
  recreation: 'none',
};

describe('adopting by hand', () => {
  let api: FakeKubeApi;
  let held: HeldVolume[];
  let adopted: unknown[];
  let paths: unknown[];
  beforeEach(() => {
    api = new FakeKubeApi();
    api.put('StorageClass', aStorageClass());
    held = [aHeldVolume()];
    adopted = [];
    paths = [];
  });

  const adopt = async (request: Partial<HandAdoptionRequest> = {}) => {
    const asAdopted = (volume: HeldVolume): AdoptedVolume => ({
      ...volume,
      accessModes: ['SINGLE_NODE_WRITER'],
      volumeContext: {},
    });
    const ledger = {
      held: () => held,
      heldOf: (volumeId: string) => held.filter((each) => each.volumeId === volumeId),
      adopt: (volumeId: string, owner: object) => {
        adopted.push({ volumeId, ...owner });
        const found = held.find((each) => each.volumeId === volumeId);
        if (found === undefined) throw new Error(`no ${volumeId}`);
        return Promise.resolve(asAdopted(found));
      },
    };
    const options = { driverName: 'loam.dev', clusterUid: 'cluster-1', clock: new ManualClock() };
    const orphans = new Orphans({ api, ledger, watches: { volumesOfHandle: () => [] }, ...options });
    const classes = () => api.all('StorageClass').values();
    const watches = { classes, putVolume: () => {} };
    const cluster = { clusterUid: 'cluster-1', tombstoneNamespace: 'loam-system' };
    const adoption = new HandAdoption({ api, ledger, orphans, own, watches, ...cluster });
    const wish = {
      ...(request.path === undefined ? { volumeId: 'pvc-uid-1' } : {}),
      policy: 'Retain',
      apply: true,
      ...request,
    } as const;
    const adoptPath = (path: string, how: object) => {
      paths.push({ path, ...how });
      held.push(aHeldVolume({ volumeId: 'adopted-old-1', name: 'adopted-old-1' }));
      return Promise.resolve(asAdopted(aHeldVolume({ volumeId: 'adopted-old-1' })));
    };
    return adoption.adopt(wish, adoptPath, { signal: AbortSignal.timeout(5_000) });
  };
  const volumes = () => api.all('PersistentVolume').map(({ metadata }) => metadata.name);

  it('makes a PV for an orphan, Retain and nobody’s unless told, and the same at every repeat', async () => {
    const { manifest, isCreated } = await adopt();
    expect(isCreated).toBe(true);
    expect(manifest).toMatchObject({
      metadata: { name: 'adopted-pvc-uid-1', annotations: { 'loam.dev/adopted': 'by-hand' } },
      spec: {
        persistentVolumeReclaimPolicy: 'Retain',
        storageClassName: '',
        csi: { volumeHandle: 'pvc-uid-1', volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' } },
      },
    });
    expect(manifest.spec.claimRef).toBeUndefined();
    expect(adopted).toEqual([{ volumeId: 'pvc-uid-1', clusterUid: 'cluster-1' }]);
    expect(await adopt()).toMatchObject({
      isCreated: true,
      message: 'volume pvc-uid-1 has PersistentVolume adopted-pvc-uid-1 already',
    });
    expect(volumes()).toEqual(['adopted-pvc-uid-1']);
  });

  it('only shows it where it is not to be applied', async () => {
    expect((await adopt({ apply: false })).isCreated).toBe(false);
    expect(volumes()).toEqual([]);
  });

  describe('of a volume that was let go while this node was away', () => {
    const letGo = (changes: Partial<Tombstone> = {}) =>
      api.put('ConfigMap', buildTombstone({ ...stone, ...changes }, 'loam-system'));

    it('prints no manifest, since the data would be gone when it is applied, and leaves the record as it is', async () => {
      letGo();
      await expect(adopt({ apply: false })).rejects.toMatchObject({
        code: 'FAILED_PRECONDITION',
        message: expect.stringMatching(
          /was let go .*its node was lost.*--apply .*kubectl -n loam-system delete configmap loam-tombstone-/,
        ) as unknown,
      });
      expect(adopted).toEqual([]);
    });

    it('makes the PV at once where it may, and that keeps the data', async () => {
      letGo();
      expect((await adopt()).isCreated).toBe(true);
      const node = { ...own, clusterUid: 'cluster-1', openPools: new Set(['pool-1']), held: held[0] };
      const kept = { ...node, stone, volumes: api.all('PersistentVolume'), claim: undefined };
      expect(decideTombstone(kept).kind).toBe('drop');
      expect(decideTombstone({ ...kept, volumes: [] }).kind).toBe('erase');
    });

    it.each<[string, Partial<Tombstone>]>([
      ['that keeps the data', { mayErase: false }],
      ['of another pool', { poolUuid: 'pool-2' }],
      ['of another driver', { driverName: 'other.dev' }],
    ])('does not mind a tombstone %s', async (_, changes) => {
      letGo(changes);
      expect((await adopt({ apply: false })).isCreated).toBe(false);
    });
  });

  it('takes the class that is named, else the claim’s, else the volume’s own', async () => {
    expect((await adopt({ apply: false, className: 'fast' })).manifest.spec.storageClassName).toBe('fast');
    held = [aHeldVolume({ className: 'fast' })];
    expect((await adopt({ apply: false })).manifest.spec.storageClassName).toBe('fast');
    held = [aHeldVolume()];
    api.put('PersistentVolumeClaim', aClaim());
    const { manifest } = await adopt({ claim });
    expect(manifest.spec).toMatchObject({ storageClassName: 'fast', claimRef: claim });
    expect(manifest.spec.claimRef).not.toHaveProperty('uid');
  });

  it('is not emptied after its claim by what its class says of volumes made for claims', async () => {
    const parameters = { onRelease: 'recycle', retainFor: '24h' };
    api.erase('StorageClass', 'fast');
    api.put('StorageClass', aStorageClass({ reclaimPolicy: 'Retain', parameters }));
    const { manifest } = await adopt({ className: 'fast' });
    expect(manifest.spec.persistentVolumeReclaimPolicy).toBe('Retain');
    expect(manifest.metadata.annotations).toEqual({
      'loam.dev/adopted': 'by-hand',
      'loam.dev/retain-for': '24h',
    });
  });

  it('adopts what lies at a path, as its class says', async () => {
    const { manifest } = await adopt({
      path: '/pools/fast/old',
      className: 'fast',
      sizeBytes: '10737418240',
      policy: 'Delete',
    });
    expect(paths).toEqual([
      {
        path: '/pools/fast/old',
        owner: { clusterUid: 'cluster-1', className: 'fast' },
        parameters: { backend: 'directory', limit: 'advisory' },
        sizeBytes: 10n << 30n,
      },
    ]);
    expect(manifest.metadata.name).toBe(adoptedName('adopted-old-1'));
    expect(manifest.spec.persistentVolumeReclaimPolicy).toBe('Delete');
  });

  it.each<[string, () => void, Partial<HandAdoptionRequest>, RegExp]>([
    ['a class that is not there', () => {}, { className: 'slow' }, /no StorageClass slow of loam\.dev/],
    [
      'another driver’s class',
      () =>
        void api.put(
          'StorageClass',
          aStorageClass({ metadata: { name: 'other', uid: 'c2' }, provisioner: 'other.dev' }),
        ),
      { className: 'other' },
      /no StorageClass other/,
    ],
    [
      'a claim that has a volume',
      () => void api.put('PersistentVolumeClaim', aClaim({ spec: { volumeName: 'pv-9' } })),
      { claim },
      /has a volume, pv-9/,
    ],
    [
      'a claim that another PV is reserved for',
      () =>
        void api.put(
          'PersistentVolume',
          aPersistentVolume({ spec: { claimRef: claim, csi: { driver: 'loam.dev', volumeHandle: 'else' } } }),
        ),
      { claim },
      /pvc-uid-1 is reserved for claim shop\/data already/,
    ],
    [
      'a claim that is larger',
      () =>
        void api.put(
          'PersistentVolumeClaim',
          aClaim({ spec: { resources: { requests: { storage: '2Gi' } } } }),
        ),
      { claim },
      /asks for 2Gi, the volume has 1Gi/,
    ],
    [
      'a volume whose PV is for another claim',
      () => void api.put('PersistentVolume', aPersistentVolume()),
      { claim: { namespace: 'shop', name: 'copy' } },
      /has PersistentVolume pvc-uid-1 already, for claim shop\/data/,
    ],
    [
      'a volume that was being emptied',
      () => void (held = [aHeldVolume({ isRecycling: true })]),
      {},
      /has no data to adopt/,
    ],
    [
      'a volume that the sweep has in hand',
      () => void (held = [aHeldVolume({ acknowledged: false })]),
      {},
      /is no orphan/,
    ],
    [
      'a PV’s name that is taken',
      () =>
        void api.put(
          'PersistentVolume',
          aPersistentVolume({
            metadata: { name: 'adopted-pvc-uid-1' },
            spec: { csi: { driver: 'loam.dev', volumeHandle: 'else' } },
          }),
        ),
      {},
      /stands for something else/,
    ],
    [
      'a volume whose claim is gone',
      () => void api.put('PersistentVolume', aPersistentVolume({ status: { phase: 'Released' } })),
      {},
      /pvc-uid-1 stands for it and is Released; loam undelete pvc-uid-1/,
    ],
    [
      'a volume that goes with its claim',
      () =>
        void api.put(
          'PersistentVolume',
          aPersistentVolume({ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }),
        ),
      {},
      /goes with its claim shop\/data; .*Retain/,
    ],
    [
      'a volume whose PV is about to go',
      () =>
        void api.put(
          'PersistentVolume',
          aPersistentVolume({
            metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' },
            status: { phase: 'Available' },
          }),
        ),
      {},
      /is being deleted; repeat when it is gone/,
    ],
    [
      'a volume that could not be deleted',
      () => void api.put('PersistentVolume', aPersistentVolume({ status: { phase: 'Failed' } })),
      {},
      /is Failed; give it the policy Retain .*delete the PersistentVolume .*then repeat/,
    ],
    [
      'a volume whose data is being destroyed',
      () =>
        void api.put(
          'PersistentVolume',
          aPersistentVolume({ metadata: { annotations: { 'loam.dev/reclaiming': 'uid-1' } } }),
        ),
      {},
      /is being destroyed/,
    ],
  ])('refuses %s, also where it would only show the PV', async (_, prepare, request, message) => {
    prepare();
    const before = volumes();
    for (const apply of [false, true]) {
      await expect(adopt({ ...request, apply })).rejects.toMatchObject({
        code: 'FAILED_PRECONDITION',
        message: expect.stringMatching(message) as unknown,
      });
    }
    expect(volumes()).toEqual(before);
  });
});
