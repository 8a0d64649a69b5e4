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
}

/** A pod that uses the claim and stays until it is deleted, at once. */
export function podOf(name: string, claim: string, options: PodOptions = {}): object {
  const { first = 'true', block = false, readOnly = false, probed = true, securityContext } = options;
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
