import type { Metrics } from '../model/metrics.ts';
import { accountOf, type PoolAccount } from '../volumes/space/account-of.ts';
import type { Pools } from '../volumes/pools/open-pools.ts';

/** What counts in full as given out; all of it together is what the pool has promised. */
const promises = {
  volumes: 'volumesBytes',
  making: 'makingBytes',
  recycling: 'recyclingBytes',
  growth: 'growthBytes',
  snapshots: 'snapshotsBytes',
  archive: 'archiveBytes',
  trash: 'trashBytes',
} as const satisfies Record<string, keyof PoolAccount>;
const others = {
  loam_pool_unwritten_bytes: 'unwrittenBytes',
  loam_pool_pending_bytes: 'pendingBytes',
  loam_pool_reserve_bytes: 'reserveBytes',
} as const satisfies Record<string, keyof PoolAccount>;

/** Tells what the room of each pool went to. One that is away promises nothing meanwhile. */
export function tellAccounts(pools: Pick<Pools, 'open' | 'unavailable'>, metrics: Metrics): void {
  const tell = (pool: string, account: PoolAccount | undefined): void => {
    for (const [kind, key] of Object.entries(promises))
      metrics.gauge('loam_pool_promised_bytes', { pool, kind }, Number(account?.[key] ?? 0n));
    for (const [name, key] of Object.entries(others))
      metrics.gauge(name, { pool }, Number(account?.[key] ?? 0n));
  };
  for (const pool of pools.open()) tell(pool.name, accountOf(pool));
  for (const { name } of pools.unavailable()) tell(name, undefined);
}
