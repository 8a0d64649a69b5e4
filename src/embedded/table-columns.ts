import type { KindName, Kinds } from '../kube/kinds.ts';
import type { KubeEvent, KubeObject } from '../kube/objects.ts';

/** One column of `kubectl get`, as the API server describes it; priority 1 shows with `-o wide`. */
export interface Column<K extends KindName = KindName> {
  readonly name: string;
  readonly priority: 0 | 1;
  readonly isName?: boolean;
  readonly cell: (object: Kinds[K], nowMs: number) => string | number | boolean;
}

type Tables = { readonly [K in KindName]?: readonly Column<K>[] };

const tables: Tables = {
  PersistentVolumeClaim: [
    nameColumn(),
    column('Status', (claim) => phaseOf(claim, claim.status?.phase)),
    column('Volume', (claim) => claim.spec.volumeName ?? ''),
    column('Capacity', (claim) =>
      claim.spec.volumeName ? (claim.status?.capacity?.['storage'] ?? '0') : '',
    ),
    column('Access Modes', (claim) => (claim.spec.volumeName ? shortModes(claim.status?.accessModes) : '')),
    column(
      'StorageClass',
      (claim) =>
        claim.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ??
        claim.spec.storageClassName ??
        '',
    ),
    column('VolumeAttributesClass', (claim) => claim.spec.volumeAttributesClassName ?? unset),
    ageColumn(),
    column('VolumeMode', (claim) => claim.spec.volumeMode ?? unset, 1),
  ],
  PersistentVolume: [
    nameColumn(),
    column('Capacity', (volume) => volume.spec.capacity?.['storage'] ?? '0'),
    column('Access Modes', (volume) => shortModes(volume.spec.accessModes)),
    column('Reclaim Policy', (volume) => volume.spec.persistentVolumeReclaimPolicy ?? ''),
    column('Status', (volume) => phaseOf(volume, volume.status?.phase)),
    column('Claim', ({ spec: { claimRef } }) =>
      claimRef ? `${claimRef.namespace ?? ''}/${claimRef.name ?? ''}` : '',
    ),
    column('StorageClass', (volume) => volume.spec.storageClassName ?? ''),
    column('VolumeAttributesClass', (volume) => volume.spec.volumeAttributesClassName ?? unset),
    column('Reason', (volume) => volume.status?.reason ?? ''),
    ageColumn(),
    column('VolumeMode', (volume) => volume.spec.volumeMode ?? unset, 1),
  ],
  StorageClass: [
    {
      ...nameColumn(),
      cell: ({ metadata }) => `${metadata.name}${isDefaultClass(metadata) ? ' (default)' : ''}`,
    },
    column('Provisioner', (storageClass) => storageClass.provisioner),
    column('ReclaimPolicy', (storageClass) => storageClass.reclaimPolicy ?? 'Delete'),
    column('VolumeBindingMode', (storageClass) => storageClass.volumeBindingMode ?? 'Immediate'),
    column('AllowVolumeExpansion', (storageClass) => storageClass.allowVolumeExpansion ?? false),
    ageColumn(),
  ],
  Event: [
    column('Last Seen', (event, nowMs) => ageText(lastSeen(event), nowMs)),
    column('Type', (event) => event.type),
    column('Reason', (event) => event.reason),
    column(
      'Object',
      ({ involvedObject: { kind = '', name } }) =>
        `${kind.toLowerCase()}${name === undefined ? '' : `/${name}`}`,
    ),
    column('Subobject', () => '', 1),
    column(
      'Source',
      ({ source, reportingComponent }) =>
        [source?.component ?? reportingComponent, source?.host].filter(Boolean).join(', '),
      1,
    ),
    column('Message', (event) => event.message.trim()),
    column('First Seen', (event, nowMs) => ageText(event.firstTimestamp ?? lastSeen(event), nowMs), 1),
    column('Count', (event) => event.count ?? 1, 1),
    { ...nameColumn(), priority: 1 },
  ],
  Node: [
    nameColumn(),
    column('Status', (node) => nodeStatus(node)),
    column('Roles', () => '<none>'),
    ageColumn(),
    column('Version', () => 'embedded'),
  ],
  Namespace: [nameColumn(), column('Status', (namespace) => namespace.status?.phase ?? ''), ageColumn()],
  Pod: [
    nameColumn(),
    column(
      'Ready',
      (pod) => `${pod.status?.phase === 'Running' ? containersOf(pod) : 0}/${containersOf(pod)}`,
    ),
    column('Status', (pod) => phaseOf(pod, pod.status?.phase)),
    column('Restarts', () => 0),
    ageColumn(),
    column('IP', () => '<none>', 1),
    column('Node', (pod) => pod.spec?.nodeName ?? '<none>', 1),
  ],
  CSIStorageCapacity: [
    nameColumn(),
    column('StorageClassName', (capacity) => capacity.storageClassName),
    column('Capacity', (capacity) => capacity.capacity ?? unset),
  ],
  CSINode: [nameColumn(), column('Drivers', (csiNode) => (csiNode.spec.drivers ?? []).length), ageColumn()],
  Lease: [nameColumn(), column('Holder', (lease) => lease.spec?.holderIdentity ?? ''), ageColumn()],
};

/** The columns of a kind; kinds without any get name and age, as the server gives to kinds that it has no printer for. */
export function columnsOf(kind: KindName): readonly Column[] {
  return (tables[kind] ?? [
    nameColumn(),
    column('Created At', (object) => object.metadata.creationTimestamp ?? ''),
  ]) as readonly Column[];
}

const unset = '<unset>';

function column<K extends KindName>(name: string, cell: Column<K>['cell'], priority: 0 | 1 = 0): Column<K> {
  return { name, priority, cell };
}

function nameColumn<K extends KindName>(): Column<K> {
  return { name: 'Name', priority: 0, isName: true, cell: (object: KubeObject) => object.metadata.name };
}

function ageColumn<K extends KindName>(): Column<K> {
  return {
    name: 'Age',
    priority: 0,
    cell: (object: KubeObject, nowMs) => ageText(object.metadata.creationTimestamp, nowMs),
  };
}

function phaseOf(object: KubeObject, phase: string | undefined): string {
  return object.metadata.deletionTimestamp === undefined ? (phase ?? '') : 'Terminating';
}

function lastSeen(event: KubeEvent): string | undefined {
  return event.lastTimestamp ?? event.firstTimestamp ?? event.metadata.creationTimestamp;
}

function isDefaultClass({ annotations }: KubeObject['metadata']): boolean {
  return annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true';
}

function nodeStatus(node: Kinds['Node']): string {
  const isReady =
    node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
  const words = [
    isReady ? 'Ready' : 'NotReady',
    ...(node.spec?.unschedulable === true ? ['SchedulingDisabled'] : []),
  ];
  return words.join(',');
}

function containersOf(pod: Kinds['Pod']): number {
  const { containers } = (pod.spec ?? {}) as { containers?: readonly unknown[] };
  return containers?.length ?? 0;
}

const modeLetters: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};

function shortModes(modes: readonly string[] | undefined): string {
  const letters = Object.entries(modeLetters).filter(([mode]) => modes?.includes(mode));
  return letters.map(([, short]) => short).join(',');
}

/** `12s`, `3m4s`, `15m`, `5h10m`, `7h`, `3d4h`, `9d`: short ages carry a second unit, as kubectl's do. */
export function ageText(timestamp: string | undefined, nowMs: number): string {
  if (timestamp === undefined) return '<unknown>';
  const seconds = Math.max(0, Math.floor((nowMs - Date.parse(timestamp)) / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return twoUnits(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return twoUnits(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return twoUnits(days, 'd', hours % 24, 'h');
  return `${days}d`;
}

function twoUnits(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
}
