import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { unlimitedPace } from '../../src/host/pace.ts';
import { Listeners } from '../../src/model/listeners.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { nodeSegments } from '../../src/model/topology.ts';
import { CopyJobs } from '../../src/volumes/copies/copy-jobs.ts';
import { Holds } from '../../src/volumes/copies/holds.ts';
import { KeyedLock } from '../../src/volumes/keyed-lock.ts';
import { NodeService } from '../../src/volumes/node-service.ts';
import { openPools } from '../../src/volumes/pools/open-pools.ts';
import { Publications } from '../../src/volumes/published/publications.ts';
import { inlineRequest } from './inline-request.ts';

// A process that kills itself: publishes, or unpublishes, one inline volume in the lab's folder that it is given, and dies
// by SIGKILL at the step that it is given.
const [root, verb, step] = process.argv.slice(2);
if (root === undefined || step === undefined) throw new Error('which folder, verb and step?');
const poolPath = join(root, 'one');
await mkdir(poolPath, { recursive: true });
const backends = [new LoopbackBackend({ poolPaths: [poolPath] })];
const publications = await Publications.load(join(root, 'run'), silentLog);
const isStaged = (id: string): boolean => publications.isStaged(id);
const signal = AbortSignal.timeout(60_000);
const pools = await openPools(
  {
    pools: [{ name: 'one', path: poolPath, overcommitRatio: 1, reservedShare: 0, initialise: true }],
    stateDir: join(root, 'state'),
  },
  { backends, pace: unlimitedPace, clock: systemClock, log: silentLog, metrics: noMetrics, signal, isStaged },
);
const node = new NodeService(
  {
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
    reached: async (reached) => {
      if (reached === step) process.kill(process.pid, 'SIGKILL');
    },
  },
  { nodeId: 'node-a', maxVolumesPerNode: 0 },
  { maxBytes: 1n << 30n, stagingFolder: join(root, 'inline') },
);
const request = inlineRequest(join(root, 'kubelet'));
if (verb === 'publish') await node.publish(request, { signal });
else await node.unpublish(request, { signal });
throw new Error(`${verb} never reached ${step}`);
