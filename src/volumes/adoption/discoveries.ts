import { deviceOf, entryFacts } from '../../host/entry-facts.ts';
import type { DiscoveredEntry, Discovery } from '../../model/volume-ledger.ts';
import type { Pool } from '../pools/pool.ts';
import { discoveryName } from './own-folders.ts';

/** What lies in the discovery folders of pools that are configured to make volumes of it. The folder is made where it is absent. */
export async function discoveriesOf(pools: readonly Pool[]): Promise<readonly Discovery[]> {
  const found: Discovery[] = [];
  for (const pool of pools) {
    const { discover } = pool.config;
    if (discover === undefined) continue;
    found.push({ poolName: pool.name, poolUuid: pool.uuid, ...discover, entries: await entriesOf(pool) });
  }
  return found;
}

async function entriesOf(pool: Pool): Promise<readonly DiscoveredEntry[]> {
  await pool.check();
  // one that is there is not touched: this is asked every few seconds
  const folder = (await pool.root.exists(discoveryName))
    ? await pool.root.openChild(discoveryName)
    : await pool.root.ensureChild(discoveryName, 0o700);
  try {
    const device = await deviceOf(pool.root);
    const entries: DiscoveredEntry[] = [];
    for (const name of (await folder.names()).toSorted()) {
      // half-made ones, by whoever fills the folder
      if (name.startsWith('.')) continue;
      const facts = await entryFacts(folder, name);
      if (facts === undefined) continue;
      const { kind, changedAtMs } = facts;
      const path = folder.pathOf(name);
      const obstacle =
        kind !== 'directory'
          ? `${path} is no folder; image files are adopted by hand: loam adopt ${path}`
          : facts.device === device
            ? undefined
            : `${path} is a disk or subvolume of its own, which cannot move into pool ${pool.name}; make it a pool of its own`;
      entries.push({ path, changedAtMs, ...(obstacle === undefined ? {} : { obstacle }) });
    }
    return entries;
  } finally {
    await folder.close();
  }
}
