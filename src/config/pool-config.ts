import { parseQuantity } from '../model/quantity.ts';
import { ConfigError } from './config-error.ts';
import type { PoolConfig } from './config.ts';

const options: Record<string, (text: string) => Partial<PoolConfig>> = {
  overcommit: (text) => ({ overcommitRatio: numberFrom('overcommit', text, 1, 1000) }),
  reserved: (text) => ({ reservedShare: shareOf(text) }),
  init: (text) => ({ initialise: switchFrom('init', text) }),
  mounted: (text) => ({ mustBeMounted: switchFrom('mounted', text) }),
  tenants: (text) => ({ tenants: tenantsOf(text) }),
  discover: (text) => ({ discover: discoveryOf(text) }),
};

/** The options of `--pool`, for docs and `--help`. */
export const poolOptions: readonly string[] = Object.keys(options);

/** Where nothing is said: no promise beyond what there is, a twentieth kept back for the file system itself. */
const poolDefaults = { overcommitRatio: 1, reservedShare: 0.05, initialise: true } as const;

/**
 * Reads `fast=/data/loam,overcommit=2,reserved=5%`. The folder's path may hold `=`, but no comma.
 * @throws ConfigError
 */
export function parsePoolFlag(text: string): PoolConfig {
  const [place = '', ...rest] = text.split(',');
  const split = place.indexOf('=');
  if (split < 1)
    throw new ConfigError(
      `--pool ${JSON.stringify(text)}: write it as name=/path[,overcommit=2][,reserved=5%]`,
    );
  let pool: PoolConfig = { name: place.slice(0, split), path: place.slice(split + 1), ...poolDefaults };
  for (const option of rest) {
    const [key = '', value = ''] = option.split('=', 2);
    const parse = Object.hasOwn(options, key) ? options[key] : undefined;
    if (parse === undefined) {
      throw new ConfigError(
        `--pool ${pool.name}: unknown option ${key}; known are ${Object.keys(options).join(', ')}`,
      );
    }
    pool = { ...pool, ...parse(value) };
  }
  return pool;
}

/** The file's form of a pool: the same words as in the flag, as a mapping. */
export function poolOfFile(entry: unknown): PoolConfig {
  const words = new Map<string, unknown>(
    typeof entry === 'object' && entry !== null ? Object.entries(entry) : [],
  );
  const name = words.get('name');
  const path = words.get('path');
  if (typeof name !== 'string' || typeof path !== 'string') {
    throw new ConfigError('each of pools needs a name and a path');
  }
  const options = [...words].filter(([key]) => key !== 'name' && key !== 'path');
  return parsePoolFlag(
    `${name}=${path}${options.map(([key, value]) => `,${key}=${String(value)}`).join('')}`,
  );
}

/** @throws ConfigError for a bad name or path, and for two pools of one name or path */
export function checkPools(pools: readonly PoolConfig[]): readonly PoolConfig[] {
  for (const [index, pool] of pools.entries()) {
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(pool.name)) {
      throw new ConfigError(
        `pool name ${JSON.stringify(pool.name)}: use lower-case letters, digits and -, at most 63`,
      );
    }
    if (
      !pool.path.startsWith('/') ||
      pool.path === '/' ||
      pool.path.split('/').includes('..') ||
      pool.path.includes('\0')
    ) {
      throw new ConfigError(
        `pool ${pool.name}: ${JSON.stringify(pool.path)} has to be an absolute path below /`,
      );
    }
    const twin = pools.slice(0, index).find((other) => other.name === pool.name || other.path === pool.path);
    if (twin !== undefined)
      throw new ConfigError(
        `pools ${twin.name} and ${pool.name} have the same name or the path ${pool.path}`,
      );
  }
  return pools;
}

function switchFrom(key: string, text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new ConfigError(`pool option ${key} is ${JSON.stringify(text)}; it is true or false`);
}

function tenantsOf(text: string): 'trusted' | 'untrusted' {
  if (text === 'trusted' || text === 'untrusted') return text;
  throw new ConfigError(`pool option tenants is ${JSON.stringify(text)}; it is trusted or untrusted`);
}

/** `found` or `found:50Gi`: the class, and the size that the PV of each folder promises. */
function discoveryOf(text: string): NonNullable<PoolConfig['discover']> {
  const [className = '', size = '1Gi', ...more] = text.split(':');
  const wrong = (): ConfigError =>
    new ConfigError(
      `pool option discover is ${JSON.stringify(text)}; it takes a StorageClass's name, and a size after a colon such as found:50Gi`,
    );
  if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(className) || more.length > 0) throw wrong();
  let sizeBytes: bigint;
  try {
    sizeBytes = parseQuantity(size);
  } catch {
    throw wrong();
  }
  if (sizeBytes <= 0n) throw wrong();
  return { className, sizeBytes };
}

function numberFrom(key: string, text: string, least: number, most: number): number {
  const value = text === '' ? Number.NaN : Number(text);
  if (value >= least && value <= most) return value;
  throw new ConfigError(
    `pool option ${key} is ${JSON.stringify(text)}; it takes a number from ${least} to ${most}`,
  );
}

function shareOf(text: string): number {
  const percent = /^(\d{1,2}(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent !== undefined) return Number(percent) / 100;
  throw new ConfigError(`pool option reserved is ${JSON.stringify(text)}; it takes a share such as 5%`);
}
