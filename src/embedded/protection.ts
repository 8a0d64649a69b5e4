import type { KubeObject, PersistentVolume, PersistentVolumeClaim, Pod } from '../kube/objects.ts';
import type { ObjectStorage } from './object-storage.ts';

const claimProtection = 'kubernetes.io/pvc-protection';
const volumeProtection = 'kubernetes.io/pv-protection';

/** Names of the claims that a pod mounts. */
export function claimsOfPod(pod: KubeObject): string[] {
  const volumes = (pod as Pod).spec?.volumes ?? [];
  return volumes.flatMap(({ persistentVolumeClaim }) =>
    persistentVolumeClaim === undefined ? [] : [persistentVolumeClaim.claimName],
  );
}

/** The two controllers that let deleted claims and PVs go only when nobody uses them. */
export class ProtectionFinalizers {
  readonly #storage: ObjectStorage;

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  /** Takes the protection off a deleted claim that no pod on a node uses. @returns whether it did */
  releaseClaim(claim: PersistentVolumeClaim): boolean {
    if (claim.metadata.deletionTimestamp === undefined || !isProtected(claim, claimProtection)) return false;
    const isUsed = this.#podsOf(claim).some((pod) => (pod.spec?.nodeName ?? '') !== '' && !isOver(pod));
    if (isUsed) return false;
    this.#storage.update('PersistentVolumeClaim', claim.metadata, (current) =>
      without(current, claimProtection),
    );
    return true;
  }

  /** Takes the protection off a deleted PV that is not bound. @returns whether it did */
  releaseVolume(volume: PersistentVolume): boolean {
    if (volume.metadata.deletionTimestamp === undefined || !isProtected(volume, volumeProtection))
      return false;
    if (volume.status?.phase === 'Bound') return false;
    this.#storage.update('PersistentVolume', volume.metadata, (current) =>
      without(current, volumeProtection),
    );
    return true;
  }

  unscheduledPodsOf(claim: PersistentVolumeClaim): string[] {
    const waiting = this.#podsOf(claim).filter((pod) => (pod.spec?.nodeName ?? '') === '' && !isOver(pod));
    return waiting.map(({ metadata }) => metadata.name);
  }

  #podsOf({ metadata }: PersistentVolumeClaim): Pod[] {
    return [...this.#storage.all('Pod')].filter(
      (pod) => pod.metadata.namespace === metadata.namespace && claimsOfPod(pod).includes(metadata.name),
    );
  }
}

function isProtected(object: KubeObject, finalizer: string): boolean {
  return object.metadata.finalizers?.includes(finalizer) ?? false;
}

function without<T extends KubeObject>(object: T, finalizer: string): T {
  const finalizers = object.metadata.finalizers?.filter((name) => name !== finalizer) ?? [];
  return { ...object, metadata: { ...object.metadata, finalizers } };
}

function isOver(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}
