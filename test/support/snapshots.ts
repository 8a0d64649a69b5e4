const group = 'snapshot.storage.k8s.io';

export function snapshotClassOf(name: string, extra: object = {}): object {
  return {
    apiVersion: `${group}/v1`,
    kind: 'VolumeSnapshotClass',
    metadata: { name },
    driver: 'loam.dev',
    deletionPolicy: 'Delete',
    ...extra,
  };
}

/** Of a claim, as it is when it is made. */
export function snapshotOf(name: string, claim: string, className = 'loam'): object {
  return {
    apiVersion: `${group}/v1`,
    kind: 'VolumeSnapshot',
    metadata: { name },
    spec: { volumeSnapshotClassName: className, source: { persistentVolumeClaimName: claim } },
  };
}

/** The claim, beginning with what a snapshot or another claim holds. */
export function restoredFrom(kind: 'snapshot' | 'claim', name: string, claim: object): object {
  const { spec } = claim as { readonly spec: object };
  const dataSource =
    kind === 'snapshot'
      ? { apiGroup: group, kind: 'VolumeSnapshot', name }
      : { kind: 'PersistentVolumeClaim', name };
  return { ...claim, spec: { ...spec, dataSource } };
}
