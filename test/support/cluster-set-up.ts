import { loamOn } from './loam-command.ts';
import { clusterScript, nodesOfCluster, RealCluster, whyNoCluster } from './real-cluster.ts';

/** vitest's, once for the whole suite: three real nodes with Loam on them. What was up before stays up. */
export default async function setUp(): Promise<(() => Promise<void>) | undefined> {
  if ((await whyNoCluster()) !== undefined) return undefined;
  const wasUp = nodesOfCluster().length > 0;
  await clusterScript('up', '--loam', '--snapshots', '--nodes', '3');
  return async () => {
    await lookAtLeftovers();
    if (!wasUp) await clusterScript('down');
  };
}

/** What all tests together have left: a line a node in the log. */
async function lookAtLeftovers(): Promise<void> {
  const cluster = new RealCluster();
  for (const node of nodesOfCluster()) {
    const plan = await loamOn(cluster, node, 'gc', '--dry-run').catch(String);
    console.log(`after all tests, loam gc --dry-run: ${plan}`);
  }
}
