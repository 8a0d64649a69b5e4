import { eventually, NotYet } from './eventually.ts';
import { leftoversBelow } from './host-leftovers.ts';
import { OwnNamespace } from './own-namespace.ts';
import { assertPoolEmpty } from './pool-leftovers.ts';
import {
  folderOfNode,
  kubectlEveryMs,
  mountsOfNode,
  nodesOfCluster,
  type RealCluster,
} from './real-cluster.ts';

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
  try {
    await OwnNamespace.closeAll();
    await untilReclaimed(cluster);
  } finally {
    await removeAll(cluster);
  }
}

/** A PV of policy Delete without its claim goes by itself: that is seen before all that is left is deleted by hand. */
function untilReclaimed(cluster: RealCluster): Promise<boolean> {
  const ofPolicy = '{range .items[?(@.spec.persistentVolumeReclaimPolicy=="Delete")]}';
  const path = `${ofPolicy}{.metadata.name} {.status.phase}, {end}`;
  return eventually(
    'no PV that is to be deleted',
    async () => {
      const left = await cluster.kubectl(['get', 'pv', `--output=jsonpath=${path}`]);
      if (left !== '') throw new NotYet(left);
      return true;
    },
    60_000,
    kubectlEveryMs,
  );
}

function isOfVolume(line: string): boolean {
  const mountPoint = line.split(' ')[4] ?? '';
  return mountPoint.startsWith(`${poolPath}/`) || /^\/var\/lib\/kubelet\/.*csi/.test(mountPoint);
}
