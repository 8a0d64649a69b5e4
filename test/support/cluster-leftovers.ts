import { eventually, NotYet } from './eventually.ts';
import { leftoversBelow } from './host-leftovers.ts';
import { assertPoolEmpty } from './pool-leftovers.ts';
import { folderOfNode, mountsOfNode, nodesOfCluster, type RealCluster } from './real-cluster.ts';

/** The DaemonSet's, on each node. */
export const poolPath = '/var/lib/loam/pool';

/** Deletes what a test made, and waits until no pool and no node hold anything of it. */
export async function removeAll(cluster: RealCluster): Promise<void> {
  // together: a claim waits for its pods by itself
  await cluster.remove('pods,pvc', '--all');
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

/** Deletes the pods and claims of the namespace, and waits until the PVs of its claims are gone. */
export async function removeVolumes(cluster: RealCluster): Promise<void> {
  // a claim may name a PV that is somebody else's
  const bound = '{range .items[?(@.status.phase=="Bound")]}{.spec.volumeName}{"\\n"}{end}';
  const names = (await cluster.kubectl(['get', 'pvc', `--output=jsonpath=${bound}`])).split('\n');
  await cluster.remove('pods,pvc', '--all');
  for (const name of names.filter((each) => each !== ''))
    await cluster.untilField('pv', name, '.metadata.name', '', 90_000);
}

function isOfVolume(line: string): boolean {
  const mountPoint = line.split(' ')[4] ?? '';
  return mountPoint.startsWith(`${poolPath}/`) || /^\/var\/lib\/kubelet\/.*csi/.test(mountPoint);
}
