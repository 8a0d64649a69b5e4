import { parseDurationMs } from '../model/duration.ts';
import { messageOf } from '../model/errors.ts';
import { parseQuantity } from '../model/quantity.ts';
import { ConfigError } from './config-error.ts';

/** One setting: a flag, the environment variable and the key of the file that mean the same, and what it says when it is wrong. */
export interface Setting {
  readonly flag: string;
  readonly env: string;
  readonly fileKey: string;
  readonly kind: 'text' | 'switch';
  readonly fallback: string | undefined;
  readonly help: string;
}

function setting(
  flag: string,
  fallback: string | undefined,
  help: string,
  kind: Setting['kind'] = 'text',
): Setting {
  return {
    flag,
    env: `LOAM_${flag.toUpperCase().replaceAll('-', '_')}`,
    fileKey: flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase()),
    kind,
    fallback,
    help,
  };
}

/** Every setting but the pools. A flag wins over the environment, that over the file, that over the fallback. */
export const settings = {
  driverName: setting('driver-name', 'loam.dev', "the CSI driver's name, as StorageClasses say it"),
  nodeName: setting(
    'node-name',
    undefined,
    "this node's name in Kubernetes (default: NODE_NAME, then the host name)",
  ),
  csiSocket: setting('csi-socket', '/csi/csi.sock', 'where the CSI services listen'),
  kubeletCsiSocket: setting(
    'kubelet-csi-socket',
    undefined,
    'the same socket as kubelet sees it (default: --csi-socket)',
  ),
  registrationSocket: setting(
    'registration-socket',
    undefined,
    'where kubelet looks for plugins; empty: none',
  ),
  runDir: setting('run-dir', '/run/loam', 'arguments of live publications; may vanish at a reboot'),
  stateDir: setting('state-dir', '/var/lib/loam', 'what the node remembers outside its pools'),
  kube: setting('kube', 'true', 'run the provisioner against an API server', 'switch'),
  kubeconfig: setting(
    'kubeconfig',
    undefined,
    'path of a kubeconfig (default: KUBECONFIG, then the pod’s own account)',
  ),
  early: setting('early', 'true', 'take claims before kube-controller-manager has annotated them', 'switch'),
  writePhase: setting('write-phase', 'true', 'write the phase of a PV that was just made', 'switch'),
  immediate: setting('immediate', 'true', 'take Immediate claims that no node was chosen for', 'switch'),
  scoped: setting(
    'scoped',
    'false',
    'nodes watch the claims and PVs with their label loam.dev/node only, which the controller keeps; for both alike',
    'switch',
  ),
  maxVolumes: setting('max-volumes', '0', 'volumes that this node may hold; 0: no limit'),
  inlineMaxSize: setting(
    'inline-max-size',
    '0',
    'the largest CSI inline volume of a pod, which no quota counts; 0: none',
  ),
  scrubRate: setting('scrub-rate', '200Mi', 'bytes a second that erasing may write; 0: no limit'),
  removeRate: setting('remove-rate', '20000', 'files a second that removal may unlink; 0: no limit'),
  retainedYieldBelow: setting(
    'retained-yield-below',
    '10%',
    'share of a pool below which volumes that are only retained (retainFor) yield, the oldest first; 0%: never',
  ),
  retainedPerNamespace: setting(
    'retained-per-namespace',
    '0',
    'bytes that a namespace may have in retained volumes on this node, beyond which the oldest yield; 0: no cap',
  ),
  loopThrough: setting(
    'loop-through',
    'process',
    'how the provisioner reaches the volumes: process or socket',
  ),
  capacity: setting('capacity', 'true', "publish this node's room for the scheduler", 'switch'),
  snapshots: setting(
    'snapshots',
    'true',
    "look after this node's VolumeSnapshotContents; false where csi-snapshotter runs beside",
    'switch',
  ),
  expansion: setting(
    'expansion',
    'true',
    "grow this node's volumes when their claims ask for more; false where external-resizer runs beside",
    'switch',
  ),
  modification: setting(
    'modification',
    'true',
    "apply VolumeAttributesClasses to this node's volumes; false where external-resizer runs beside",
    'switch',
  ),
  namespace: setting(
    'namespace',
    undefined,
    "where our Lease and capacity objects lie (default: POD_NAMESPACE, then the account's namespace, then default)",
  ),
  leaderElect: setting(
    'leader-elect',
    'true',
    'place only while holding the Lease loam-controller',
    'switch',
  ),
  unreachableAfter: setting(
    'unreachable-after',
    '5m',
    'how long a node may be away before claims that wait for it are freed',
  ),
  nodeLoss: setting(
    'node-loss',
    'off',
    'what the controller may do where onNodeLoss asks for it: off, release, or recreate, which deletes pods and claims',
  ),
  observe: setting('observe', '127.0.0.1:9810', 'address of /metrics, /healthz and /readyz; empty: none'),
  logLevel: setting('log-level', 'info', 'debug, info, warn or error'),
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof settings;

export function switchOf(name: SettingName, text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new ConfigError(`--${settings[name].flag} is ${JSON.stringify(text)}; it is true or false`);
}

export function countOf(name: SettingName, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new ConfigError(
    `--${settings[name].flag} is ${JSON.stringify(text)}; it takes a whole number from 0`,
  );
}

/** From 0% to below 100%. */
export function shareOf(name: SettingName, text: string): number {
  const percent = /^\d{1,2}(\.\d+)?%$/.test(text) ? Number(text.slice(0, -1)) : Number.NaN;
  if (percent < 100) return percent / 100;
  throw new ConfigError(
    `--${settings[name].flag} is ${JSON.stringify(text)}; it takes a share such as 10%, below 100%`,
  );
}

export function bytesOf(name: SettingName, text: string): bigint {
  try {
    return parseQuantity(text);
  } catch (error) {
    throw new ConfigError(`--${settings[name].flag}: ${String(error)}`, { cause: error });
  }
}

export function durationMsOf(name: SettingName, text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new ConfigError(`--${settings[name].flag}: ${messageOf(error)}`, { cause: error });
  }
}

/** A namespace's name, as DNS labels are written. */
export function namespaceOf(name: SettingName, text: string): string {
  if (/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text)) return text;
  throw new ConfigError(
    `--${settings[name].flag} is ${JSON.stringify(text)}; it takes lower-case letters, digits and -, at most 63`,
  );
}

export function choiceOf<const T extends string>(name: SettingName, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found !== undefined) return found;
  throw new ConfigError(
    `--${settings[name].flag} is ${JSON.stringify(text)}; it can be ${allowed.join(' or ')}`,
  );
}

/** An absolute path of at most 104 bytes: longer ones do not fit a socket address. */
export function socketPathOf(name: SettingName, text: string): string {
  const path = absolutePathOf(name, text);
  if (Buffer.byteLength(path) <= 104) return path;
  throw new ConfigError(
    `--${settings[name].flag} ${path} is ${Buffer.byteLength(path)} bytes; a Unix socket's path has at most 104`,
  );
}

export function absolutePathOf(name: SettingName, text: string): string {
  if (text.startsWith('/') && !text.includes('\0')) return text;
  throw new ConfigError(`--${settings[name].flag} is ${JSON.stringify(text)}; it takes an absolute path`);
}
