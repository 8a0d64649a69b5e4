import { eventually, NotYet } from './eventually.ts';
import { leftoversBelow } from './host-leftovers.ts';
import { OwnNamespace } from './own-namespace.ts';
import { assertPoolEmpty } from './pool-leftovers.ts';
import { folderOfNode, mountsOfNode, nodesOfCluster, type RealCluster } from './real-cluster.ts';

/** The DaemonSet's, on each node. */
export const poolPath = '/var/lib/loam/pool';

/** Deletes what a test made, and waits until no pool and no node hold anything of it. */
export async function removeAll(cluster: RealCluster): Promise<void> {
  // together: a claim waits for its pods by itself
  await cluster.remove('statefulset,pods,pvc', '--all');
  await cluster.remove('pv', '--all');
  for (const node of nodesOfCluster()) {
    await assertPoolEmpty(folderOfNode(node, poolPath), 60_000);
    await eventually(`no mount of a volume on ${node}`, () => {
      const left = mountsOfNode(node).filter(isOfVolume);
      if (left.length > 0) throw new NotYet(left.join(', '));
      return true;
    });
  }
  await eventually('no loop device of a volume', () => {
    // the kernel shows the path that the image had on its node
    const left = leftoversBelow(`${poolPath}/`);
    if (left.length > 0) throw new NotYet(left.join(', '));
    return true;
  });
}

/** After tests that ran at the same time in namespaces of their own: what one that failed has left goes, and then nothing is left. */
export async function removeRest(cluster: RealCluster): Promise<void> {
  await OwnNamespace.closeAll();
  await removeAll(cluster);
}

function isOfVolume(line: string): boolean {
  const mountPoint = line.split(' ')[4] ?? '';
  return mountPoint.startsWith(`${poolPath}/`) || /^\/var\/lib\/kubelet\/.*csi/.test(mountPoint);
}
