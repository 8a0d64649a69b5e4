import type { KindName, Kinds } from '../kube/kinds.ts';
import type { KubeObject } from '../kube/objects.ts';

const claimProtection = 'kubernetes.io/pvc-protection';
const volumeProtection = 'kubernetes.io/pv-protection';

/** What the API server fills in when an object is created: defaults, first phase, protection finalizers. */
export function setDefaults(
  kind: KindName,
  object: KubeObject,
  defaultClass: () => string | undefined,
): void {
  const set = defaulters[kind] as
    ((object: KubeObject, defaultClass: () => string | undefined) => void) | undefined;
  set?.(object, defaultClass);
}

type Defaulters = { [K in KindName]?: (object: Kinds[K], defaultClass: () => string | undefined) => void };

const defaulters: Defaulters = {
  PersistentVolumeClaim(claim, defaultClass) {
    claim.spec.volumeMode ??= 'Filesystem';
    const named =
      claim.spec.storageClassName ?? claim.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'];
    const chosen = named ?? defaultClass();
    if (named === undefined && chosen !== undefined) claim.spec.storageClassName = chosen;
    claim.status = { phase: 'Pending' };
    protect(claim, claimProtection);
  },
  PersistentVolume(volume) {
    volume.spec.volumeMode ??= 'Filesystem';
    volume.spec.persistentVolumeReclaimPolicy ??= 'Retain';
    volume.status = { phase: 'Pending' };
    protect(volume, volumeProtection);
  },
  StorageClass(storageClass) {
    storageClass.reclaimPolicy ??= 'Delete';
    storageClass.volumeBindingMode ??= 'Immediate';
  },
  Event(event) {
    const empty = {
      eventTime: null,
      firstTimestamp: null,
      lastTimestamp: null,
      source: {},
      reportingComponent: '',
      reportingInstance: '',
    };
    Object.assign(event, { ...empty, ...event });
  },
  Pod(pod) {
    const spec = pod.spec as
      (Record<string, unknown> & { containers?: Record<string, unknown>[] }) | undefined;
    if (spec !== undefined) {
      spec['restartPolicy'] ??= 'Always';
      spec['terminationGracePeriodSeconds'] ??= 30;
    }
    pod.status = { phase: 'Pending' };
  },
  Namespace(namespace) {
    namespace.metadata.labels = {
      ...namespace.metadata.labels,
      'kubernetes.io/metadata.name': namespace.metadata.name,
    };
    namespace.status = { phase: 'Active' };
  },
};

function protect(object: KubeObject, finalizer: string): void {
  const finalizers = object.metadata.finalizers ?? [];
  if (!finalizers.includes(finalizer)) object.metadata.finalizers = [...finalizers, finalizer];
}
