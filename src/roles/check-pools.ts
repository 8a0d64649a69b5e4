import type { PoolTrouble } from '../model/volume-ledger.ts';
import type { Check } from '../observe/status-server.ts';

/** One pool is enough to serve; those that are missing beside it are told, so that a probe's output names them. */
export function checkPools(pools: { isAnyOpen(): boolean; unavailable(): readonly PoolTrouble[] }): Check {
  const troubles = (): readonly string[] =>
    // some reasons name the pool themselves
    pools.unavailable().map(({ name, why }) => `${name}: ${why.replace(`pool ${name}: `, '')}`);
  return {
    name: 'pools',
    kind: 'ready',
    problem: () => (pools.isAnyOpen() ? undefined : troubles().join('; ') || 'no pool is configured'),
    degraded: () =>
      troubles()
        .map((trouble) => `pool ${trouble}`)
        .join('; ') || undefined,
  };
}
