import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { parse as parseYaml } from 'yaml';
import { ConfigError } from './config-error.ts';
import type { Config } from './config.ts';
import { checkPools, parsePoolFlag, poolOfFile } from './pool-config.ts';
import {
  absolutePathOf,
  bytesOf,
  choiceOf,
  countOf,
  durationMsOf,
  namespaceOf,
  settings,
  shareOf,
  socketPathOf,
  switchOf,
} from './settings.ts';
import type { Setting, SettingName } from './settings.ts';

const knownKeys: ReadonlySet<string> = new Set([
  'pools',
  ...Object.values(settings).map(({ fileKey }) => fileKey),
]);

/** What surrounds the process, passed in so that reading is tested without touching it. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  readonly hostName: string;
}

const surroundings: Surroundings = {
  env: process.env,
  readFile: (path) => readFileSync(path, 'utf8'),
  hostName: hostname(),
};

/**
 * Reads flags, environment and the file named by `--config` into one frozen Config.
 * @throws ConfigError
 */
export function readConfig(argv: readonly string[], from: Surroundings = surroundings): Config {
  const flags = readFlags(argv);
  const file = flags.config === undefined ? {} : readFile(flags.config, from.readFile);
  const text = (name: SettingName): string | undefined => {
    const { flag, env, fileKey, fallback } = settings[name];
    const value = flags.values[flag] ?? from.env[env] ?? scalarText(file[fileKey]) ?? fallback;
    return value === '' ? undefined : value;
  };
  const required = (name: SettingName): string => {
    const value = text(name);
    if (value === undefined)
      throw new ConfigError(`--${settings[name].flag} is empty; ${settings[name].help}`);
    return value;
  };
  const pools =
    flags.pools.length > 0 ? flags.pools.map(parsePoolFlag) : poolsOf(file['pools'], from.env['LOAM_POOLS']);
  const csiSocketPath = socketPathOf('csiSocket', required('csiSocket'));
  const registrationSocket = text('registrationSocket');
  const kubeconfigPath = text('kubeconfig');
  const observeAddress = text('observe');
  return Object.freeze({
    driverName: driverNameOf(required('driverName')),
    nodeName: text('nodeName') ?? from.env['NODE_NAME'] ?? from.hostName,
    pools: checkPools(pools),
    csiSocketPath,
    kubeletCsiSocketPath: text('kubeletCsiSocket') ?? csiSocketPath,
    ...(registrationSocket === undefined
      ? {}
      : { registrationSocketPath: socketPathOf('registrationSocket', registrationSocket) }),
    runDir: absolutePathOf('runDir', required('runDir')),
    stateDir: absolutePathOf('stateDir', required('stateDir')),
    ...(switchOf('kube', required('kube'))
      ? { kube: kubeconfigPath === undefined ? {} : { kubeconfigPath } }
      : {}),
    early: switchOf('early', required('early')),
    writePhase: switchOf('writePhase', required('writePhase')),
    immediateOnThisNode: switchOf('immediate', required('immediate')),
    scoped: switchOf('scoped', required('scoped')),
    maxVolumesPerNode: countOf('maxVolumes', required('maxVolumes')),
    inlineMaxBytes: bytesOf('inlineMaxSize', required('inlineMaxSize')),
    scrubBytesPerSecond: bytesOf('scrubRate', required('scrubRate')),
    removeFilesPerSecond: countOf('removeRate', required('removeRate')),
    retainedYieldBelow: shareOf('retainedYieldBelow', required('retainedYieldBelow')),
    retainedPerNamespaceBytes: bytesOf('retainedPerNamespace', required('retainedPerNamespace')),
    loopThrough: choiceOf('loopThrough', required('loopThrough'), ['process', 'socket']),
    capacity: switchOf('capacity', required('capacity')),
    snapshots: switchOf('snapshots', required('snapshots')),
    expansion: switchOf('expansion', required('expansion')),
    modification: switchOf('modification', required('modification')),
    namespace: namespaceOf('namespace', text('namespace') ?? homeNamespace(from)),
    leaderElect: switchOf('leaderElect', required('leaderElect')),
    unreachableAfterMs: durationMsOf('unreachableAfter', required('unreachableAfter')),
    nodeLoss: choiceOf('nodeLoss', required('nodeLoss'), ['off', 'release', 'recreate']),
    ...(observeAddress === undefined ? {} : { observeAddress }),
    logLevel: choiceOf('logLevel', required('logLevel'), ['debug', 'info', 'warn', 'error']),
  });
}

/** The table of flags, for `--help`. */
export function describeSettings(): string {
  const rows = Object.values<Setting>(settings).map(({ flag, env, fallback, help }) => [
    `--${flag}`,
    `${help}${fallback === undefined ? '' : ` (${fallback})`}`,
    env,
  ]);
  const pool = [
    '--pool',
    'name=/path[,overcommit=2][,reserved=5%][,init=false][,mounted=true][,tenants=trusted][,discover=CLASS]; may be repeated',
    'LOAM_POOLS',
  ];
  const config = ['--config', 'a YAML file with the same settings in camelCase, and pools', ''];
  const all = [pool, config, ...rows];
  const width = Math.max(...all.map(([flag = '']) => flag.length)) + 2;
  return all
    .map(([flag = '', help = '', env = '']) => `  ${flag.padEnd(width)}${help}  ${env}`.trimEnd())
    .join('\n');
}

function readFlags(argv: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: withNegations(argv),
      options: {
        config: { type: 'string' },
        pool: { type: 'string', multiple: true },
        ...Object.fromEntries(Object.values(settings).map(({ flag }) => [flag, { type: 'string' as const }])),
      },
    });
    const { config, pool, ...rest } = values;
    return {
      config: typeof config === 'string' ? config : undefined,
      pools: Array.isArray(pool) ? pool.map(String) : [],
      values: rest as Record<string, string | undefined>,
    };
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** `--early` and `--no-early` beside `--early=true` and `--early=false`. */
function withNegations(argv: readonly string[]): string[] {
  const switches = new Set(
    Object.values(settings).flatMap(({ kind, flag }) => (kind === 'switch' ? [flag] : [])),
  );
  return argv.map((word, index) => {
    const followedByValue = ['true', 'false'].includes(argv[index + 1] ?? '');
    if (word.startsWith('--no-') && switches.has(word.slice(5))) return `--${word.slice(5)}=false`;
    if (switches.has(word.slice(2)) && word.startsWith('--') && !followedByValue) return `${word}=true`;
    return word;
  });
}

const accountNamespacePath = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

/** The namespace of the pod that this is, as the downward API or its service account says it. */
function homeNamespace({ env, readFile: read }: Surroundings): string {
  const said = env['POD_NAMESPACE'];
  if (said !== undefined && said !== '') return said;
  try {
    return read(accountNamespacePath).trim() || 'default';
  } catch {
    // not in a pod
    return 'default';
  }
}

function readFile(path: string, read: (path: string) => string): Record<string, unknown> {
  let content: unknown;
  try {
    content = parseYaml(read(path)) ?? {};
  } catch (error) {
    throw new ConfigError(
      `cannot read --config ${path}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new ConfigError(`--config ${path}: it has to be a mapping of settings`);
  }
  for (const [key, value] of Object.entries(content)) {
    if (!knownKeys.has(key))
      throw new ConfigError(`--config ${path}: unknown key ${key}; known are ${[...knownKeys].join(', ')}`);
    const isRight = key === 'pools' ? Array.isArray(value) : scalarText(value) !== undefined;
    if (!isRight)
      throw new ConfigError(
        `--config ${path}: ${key} takes ${key === 'pools' ? 'a list of pools' : 'one value'}`,
      );
  }
  return { ...content };
}

function poolsOf(file: unknown, env: string | undefined) {
  if (env !== undefined && env !== '') return env.split(';').map(parsePoolFlag);
  return Array.isArray(file) ? file.map(poolOfFile) : [];
}

function scalarText(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

function driverNameOf(text: string): string {
  if (/^[a-zA-Z0-9]([-a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?$/.test(text)) return text;
  throw new ConfigError(
    `--driver-name ${JSON.stringify(text)}: at most 63 letters, digits, - and ., beginning and ending with a letter or digit (CSI)`,
  );
}
