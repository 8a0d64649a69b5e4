/**
 * The floor: a program that makes no storage. One POST per claim of its class, one DELETE per Released PV; nothing else.
 * What it reaches is what this API server and kube-controller-manager allow to anybody.
 *
 * usage: node floor.ts <kubeconfig> <provisioner>
 */
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../src/kube/objects.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { ObjectStore } from '../../src/kube/store.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';

const [kubeconfigPath = '', provisioner = ''] = process.argv.slice(2);
const api = createKubeApi(loadKubeAccess(kubeconfigPath), { metrics: noMetrics, userAgent: 'loam-floor' });
const { signal } = new AbortController();
const begun = new Set<string>();

function volumeFor(claim: PersistentVolumeClaim): PersistentVolume {
  const { name, namespace = '', uid = '', resourceVersion = '' } = claim.metadata;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `pvc-${uid}`, annotations: { 'pv.kubernetes.io/provisioned-by': provisioner } },
    spec: {
      accessModes: claim.spec.accessModes ?? [],
      capacity: { storage: claim.spec.resources?.requests?.['storage'] ?? '' },
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid, resourceVersion },
      storageClassName: claim.spec.storageClassName ?? '',
      persistentVolumeReclaimPolicy: 'Delete',
      csi: { driver: provisioner, volumeHandle: `pvc-${uid}` },
    },
  };
}

/** Each object once: what fails shows as a PV that never comes. */
function once(key: string, act: () => Promise<unknown>): void {
  if (begun.has(key)) return;
  begun.add(key);
  act().catch((error: unknown) => console.error(key, error));
}

const shared = { api, clock: systemClock, log: silentLog, metrics: noMetrics };
const claims = new Reflector({
  ...shared,
  kind: 'PersistentVolumeClaim',
  store: new ObjectStore<PersistentVolumeClaim>(),
});
const volumes = new Reflector({
  ...shared,
  kind: 'PersistentVolume',
  store: new ObjectStore<PersistentVolume>(),
});

claims.onChange(({ current }) => {
  if (current?.spec.storageClassName !== 'floor' || current.spec.volumeName !== undefined) return;
  once(`create ${current.metadata.uid}`, () => api.create('PersistentVolume', volumeFor(current), signal));
});
volumes.onChange(({ current }) => {
  if (current?.spec.csi?.driver !== provisioner || current.status?.phase !== 'Released') return;
  const { name } = current.metadata;
  once(`delete ${name}`, () => api.remove('PersistentVolume', { name }, signal));
});
claims.start(signal);
volumes.start(signal);
await Promise.all([claims.synced, volumes.synced]);
console.log('ready');
