import { eventually, NotYet } from './eventually.ts';
import { leftoversBelow } from './host-leftovers.ts';
import { assertPoolEmpty } from './pool-leftovers.ts';
import type { RealCluster } from './real-cluster.ts';

/** the DaemonSet's, as this machine sees it */
const poolPath = '/var/lib/loam/pool';

/** Deletes what a test made, and waits until neither pool nor node hold anything of it. */
export async function removeAll(cluster: RealCluster): Promise<void> {
  await cluster.remove('pods', '--all');
  await cluster.remove('pvc', '--all');
  await cluster.remove('pv', '--all');
  await assertPoolEmpty(poolPath, 60_000);
  await eventually('no mount of a volume', () => {
    const left = leftoversBelow('/var/lib/kubelet/').filter((text) => text.includes('csi'));
    if (left.length > 0) throw new NotYet(left.join(', '));
    return true;
  });
}
