import { clusterScript, nodesOfCluster, whyNoCluster } from './real-cluster.ts';

/** vitest's, once for the whole suite: three real nodes with Loam on them. What was up before stays up. */
export default async function setUp(): Promise<(() => Promise<void>) | undefined> {
  if ((await whyNoCluster()) !== undefined) return undefined;
  const wasUp = nodesOfCluster().length > 0;
  await clusterScript('up', '--loam', '--snapshots', '--nodes', '3');
  return async () => {
    if (!wasUp) await clusterScript('down');
  };
}
