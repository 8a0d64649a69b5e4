import { loamOn } from './loam-command.ts';
import { clusterScript, nodesOfCluster, RealCluster, whyNoCluster } from './real-cluster.ts';

/** vitest's, once for the whole suite: three real nodes with Loam on them. What was up before stays up. */
export default async function setUp(): Promise<(() => Promise<void>) | undefined> {
  if ((await whyNoCluster()) !== undefined) return undefined;
  const wasUp = nodesOfCluster().length > 0;
  await clusterScript('up', '--loam', '--snapshots', '--nodes', '3');
  return async () => {
    const left = await leftovers();
    if (!wasUp) await clusterScript('down');
    if (left.length > 0) throw new Error(`the tests together have left something: ${left.join('; ')}`);
  };
}

/** What `loam gc` would do on each node where it is not nothing: the plans are in the log. */
async function leftovers(): Promise<readonly string[]> {
  const cluster = new RealCluster();
  const plans = await Promise.all(
    nodesOfCluster().map((node) => loamOn(cluster, node, 'gc', '--dry-run').catch(String)),
  );
  for (const plan of plans) console.log(`after all tests, loam gc --dry-run: ${plan}`);
  return plans.filter((plan) => !/nothing to do/.test(plan));
}
