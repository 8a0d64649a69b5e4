import { join } from 'node:path';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { NodeService } from '../../src/volumes/node-service.ts';
import { inlineRequest } from './inline-request.ts';
import { openOnePool } from './open-one-pool.ts';

// A process that kills itself: publishes, or unpublishes, one inline volume in the lab's folder that it is given, and dies
// by SIGKILL at the step that it is given.
const [root, verb, step] = process.argv.slice(2);
if (root === undefined || step === undefined) throw new Error('which folder, verb and step?');
const poolPath = join(root, 'one');
const signal = AbortSignal.timeout(60_000);
const environment = await openOnePool(
  { poolPath, runDir: join(root, 'run'), stateDir: join(root, 'state') },
  [new LoopbackBackend({ poolPaths: [poolPath] })],
  { overcommitRatio: 1 },
);
const reached = async (at: string): Promise<void> => {
  if (at === step) process.kill(process.pid, 'SIGKILL');
};
const node = new NodeService(
  { ...environment, reached },
  { nodeId: 'node-a', maxVolumesPerNode: 0 },
  { maxBytes: 1n << 30n, stagingFolder: join(root, 'inline') },
);
const request = inlineRequest(join(root, 'kubelet'));
if (verb === 'publish') await node.publish(request, { signal });
else await node.unpublish(request, { signal });
throw new Error(`${verb} never reached ${step}`);
