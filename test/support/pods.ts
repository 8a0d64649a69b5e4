import { randomBytes } from 'node:crypto';

/** Where a claim is mounted in the pods that `podOf` makes; a block device stands at `/dev/volume`. */
export const mountPath = '/data';

interface ClaimOptions {
  readonly className?: string;
  readonly size?: string;
  readonly accessMode?: string;
  readonly block?: boolean;
  /** of the PV that is meant */
  readonly volumeName?: string;
}

export function claimOf(name: string, options: ClaimOptions = {}): object {
  const {
    className = 'loam',
    size = '64Mi',
    accessMode = 'ReadWriteOnce',
    block = false,
    volumeName,
  } = options;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      accessModes: [accessMode],
      storageClassName: className,
      resources: { requests: { storage: size } },
      volumeMode: block ? 'Block' : 'Filesystem',
      ...(volumeName === undefined ? {} : { volumeName }),
    },
  };
}

interface PodOptions {
  /** runs before the pod is ready; the container ends when it fails */
  readonly first?: string;
  readonly block?: boolean;
  readonly readOnly?: boolean;
  /** unset: ready means that `first` has succeeded; kubelet asks every second */
  readonly probed?: boolean;
  readonly securityContext?: object;
  /** unset: the scheduler chooses */
  readonly node?: string;
}

/** A pod that uses the claim and stays until it is deleted, at once. */
export function podOf(name: string, claim: string, options: PodOptions = {}): object {
  const { first = 'true', block = false, readOnly = false, probed = true, securityContext, node } = options;
  const use = block
    ? { volumeDevices: [{ name: 'volume', devicePath: '/dev/volume' }] }
    : { volumeMounts: [{ name: 'volume', mountPath }] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      // 0 would take the object away before kubelet has ended anything
      terminationGracePeriodSeconds: 5,
      dnsPolicy: 'Default',
      ...(securityContext === undefined ? {} : { securityContext }),
      // not nodeName, which would pass by the scheduler and so by the choice of a node for the claim
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
      containers: [
        {
          name: 'main',
          image: 'busybox:1.36',
          command: [
            'sh',
            '-c',
            `${first} && touch /tmp/ready && trap 'exit 0' TERM && { sleep 1000000 & wait; }`,
          ],
          ...(probed
            ? { readinessProbe: { exec: { command: ['test', '-e', '/tmp/ready'] }, periodSeconds: 1 } }
            : {}),
          ...use,
        },
      ],
      volumes: [{ name: 'volume', persistentVolumeClaim: { claimName: claim, readOnly } }],
    },
  };
}

/** For claims whose events are looked at: events outlive what they are about. */
export function freshName(what: string): string {
  return `${what}-${randomBytes(4).toString('hex')}`;
}

/** A pod that describes its volume itself, and needs no claim. */
export function inlinePodOf(
  name: string,
  volumeAttributes: Readonly<Record<string, string>>,
  options: PodOptions = {},
): object {
  const pod = podOf(name, 'none', options) as { readonly spec: object };
  const csi = { driver: 'loam.dev', fsType: 'ext4', volumeAttributes };
  return { ...pod, spec: { ...pod.spec, volumes: [{ name: 'volume', csi }] } };
}

export function classOf(name: string, extra: object): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: 'loam.dev',
    volumeBindingMode: 'WaitForFirstConsumer',
    ...extra,
  };
}

/** For `first`: the pod's name and a word that only this run of it knows, written once. */
export const signOnce =
  '[ -f /data/sign ] || echo $(hostname) $(cat /proc/sys/kernel/random/uuid) > /data/sign';

interface SetOptions {
  readonly replicas: number;
  /** as for `podOf`; the volume is each replica's own */
  readonly pod?: PodOptions;
  readonly claim?: ClaimOptions;
  /** no two of them on one node */
  readonly apart?: boolean;
}

/** A StatefulSet whose replicas have a volume each, made from the claim template `volume`. */
export function statefulSetOf(name: string, options: SetOptions): object {
  const { replicas, pod, claim, apart = false } = options;
  const { spec } = podOf(name, 'of the template', pod) as { readonly spec: object };
  const labels = { app: name };
  const apartFrom = { labelSelector: { matchLabels: labels }, topologyKey: 'kubernetes.io/hostname' };
  const affinity = { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [apartFrom] } };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name },
    spec: {
      replicas,
      serviceName: name,
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { ...spec, volumes: [], ...(apart ? { affinity } : {}) },
      },
      volumeClaimTemplates: [claimOf('volume', claim)],
    },
  };
}
