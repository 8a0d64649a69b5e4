import { mkdir } from 'node:fs/promises';
import type { Backend } from '../../src/backends/backend.ts';
import { unlimitedPace } from '../../src/host/pace.ts';
import { Listeners } from '../../src/model/listeners.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { nodeSegments } from '../../src/model/topology.ts';
import { CopyJobs } from '../../src/volumes/copies/copy-jobs.ts';
import { Holds } from '../../src/volumes/copies/holds.ts';
import { KeyedLock } from '../../src/volumes/keyed-lock.ts';
import { openPools } from '../../src/volumes/pools/open-pools.ts';
import { Publications } from '../../src/volumes/published/publications.ts';
import type { VolumeEnvironment } from '../../src/volumes/volume-environment.ts';

/** What the services of a process that is going to be killed work on: one pool, the real clock, nobody who listens. */
export async function openOnePool(
  paths: { readonly poolPath: string; readonly runDir: string; readonly stateDir: string },
  backends: readonly Backend[],
  { overcommitRatio = 1000 } = {},
): Promise<VolumeEnvironment> {
  await mkdir(paths.poolPath, { recursive: true });
  const publications = await Publications.load(paths.runDir, silentLog);
  const pools = await openPools(
    {
      pools: [{ name: 'one', path: paths.poolPath, overcommitRatio, reservedShare: 0, initialise: true }],
      stateDir: paths.stateDir,
    },
    {
      backends,
      pace: unlimitedPace,
      clock: systemClock,
      log: silentLog,
      metrics: noMetrics,
      signal: new AbortController().signal,
      isStaged: (id) => publications.isStaged(id),
    },
  );
  const [trouble] = pools.unavailable();
  if (trouble !== undefined) throw new Error(trouble.why);
  return {
    pools,
    backends,
    publications,
    locks: new KeyedLock(),
    holds: new Holds(),
    copies: new CopyJobs(systemClock),
    released: new Listeners<string>(),
    spaceChanged: new Listeners<void>(),
    topology: nodeSegments('node-a'),
    clock: systemClock,
    log: silentLog,
  };
}
