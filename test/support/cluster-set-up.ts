import { existsSync } from 'node:fs';
import { clusterScript, whyNoCluster } from './real-cluster.ts';

/** vitest's, once for the whole suite: a real node with Loam on it. One that was up before stays up. */
export default async function setUp(): Promise<(() => Promise<void>) | undefined> {
  if ((await whyNoCluster()) !== undefined) return undefined;
  const wasUp = existsSync('/run/loam-cluster/kubelet.pid');
  await clusterScript('up', '--loam');
  return async () => {
    if (!wasUp) await clusterScript('down');
  };
}
