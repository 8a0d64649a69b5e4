import { discoveryName } from '../../backends/backend.ts';
import { deviceOf, entryFacts } from '../../host/entry-facts.ts';
import { messageOf } from '../../model/errors.ts';
import type { DiscoveredEntry, Discovery } from '../../model/volume-ledger.ts';
import type { Pools } from '../pools/open-pools.ts';
import type { Pool } from '../pools/pool.ts';
import { forgottenDisks, knownDisks, whyNotAllKnown } from './known-disks.ts';
import { lookAtEntry, type DiskSurvey } from './look-at-entry.ts';
import type { Stillness } from './stillness.ts';

/** What lies in the discovery folders of pools that are configured to make volumes of it. The folder is made where it is absent. */
export async function discoveriesOf(
  pools: Pick<Pools, 'open' | 'unavailable'>,
  stillness: Stillness,
): Promise<readonly Discovery[]> {
  const found: Discovery[] = [];
  const seen = new Map<string, string>();
  for (const pool of pools.open()) {
    const { discover } = pool.config;
    if (discover === undefined) continue;
    const known = knownDisks(pools.open());
    const forgotten = forgottenDisks(pools.open());
    const survey = { pool, known, forgotten, unknown: whyNotAllKnown(pools), seen };
    const entries = await entriesOf(pool, survey, stillness);
    found.push({ poolName: pool.name, poolUuid: pool.uuid, ...discover, entries });
  }
  stillness.keepOnly(new Set(found.flatMap(({ entries }) => entries.map(({ path }) => path))));
  return found;
}

async function entriesOf(
  pool: Pool,
  parts: Omit<DiskSurvey, 'folder'>,
  stillness: Stillness,
): Promise<readonly DiscoveredEntry[]> {
  await pool.check();
  // one that is there is not touched: this is asked every few seconds
  const folder = (await pool.root.exists(discoveryName))
    ? await pool.root.openChild(discoveryName)
    : await pool.root.ensureChild(discoveryName, 0o700);
  try {
    const device = await deviceOf(pool.root);
    const survey = { ...parts, folder };
    const entries: DiscoveredEntry[] = [];
    for (const name of (await folder.names()).toSorted()) {
      // half-made ones, by whoever fills the folder
      if (name.startsWith('.')) continue;
      const entry = await look(survey, name, device, stillness).catch((error: unknown) => {
        // a disk that fails keeps none of the others from being found
        const path = folder.pathOf(name);
        return { path, changedAtMs: 0, obstacle: `${path} cannot be looked at: ${messageOf(error)}` };
      });
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  } finally {
    await folder.close();
  }
}

/** Undefined where there is nothing to tell: it is gone, or a volume already. */
async function look(
  survey: DiskSurvey,
  name: string,
  poolDevice: bigint,
  stillness: Stillness,
): Promise<DiscoveredEntry | undefined> {
  const { folder } = survey;
  const facts = await entryFacts(folder, name);
  if (facts === undefined) return undefined;
  const { kind, device, changedAtMs } = facts;
  const path = folder.pathOf(name);
  if (kind !== 'directory') {
    const obstacle = `${path} is no folder; image files are adopted by hand: loam adopt ${path}`;
    return { path, changedAtMs, obstacle };
  }
  const decision = await lookAtEntry(survey, name, async (decided) => decided);
  if (decision.kind === 'known') return undefined;
  if (decision.kind === 'obstacle') return { path, changedAtMs, obstacle: decision.why };
  // a disk is not filled where it is mounted; a folder may be, deep below what lstat(2) tells of it
  if (device === poolDevice) return { path, changedAtMs: await stillness.changedAtMs(folder, name) };
  if (decision.kind === 'take') return { path, changedAtMs };
  const obstacle = `${path} is a subvolume of its own, which cannot become a volume; make it a pool of its own`;
  return { path, changedAtMs, obstacle };
}
