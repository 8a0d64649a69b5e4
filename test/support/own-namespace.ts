import { eventually } from './eventually.ts';
import { freshName } from './pods.ts';
import { kubectlEveryMs, RealCluster } from './real-cluster.ts';

/** Deletes the pods and claims of the namespace, and waits until the PVs of its claims are gone. */
export async function removeVolumes(cluster: RealCluster): Promise<void> {
  // a claim may name a PV that is somebody else's
  const bound = '{range .items[?(@.status.phase=="Bound")]}{.spec.volumeName}{"\\n"}{end}';
  const names = (await cluster.kubectl(['get', 'pvc', `--output=jsonpath=${bound}`])).split('\n');
  await cluster.remove('statefulset,pods,pvc', '--all');
  for (const name of names.filter((each) => each !== ''))
    await cluster.untilField('pv', name, '.metadata.name', '', 90_000);
}

/**
 * A namespace for one test, so that the tests of a file can run at the same time: kubelet looks at its pods once a second, and most of a
 * test is waiting for that. What the test made in it goes with it, and its PVs; what is cluster-wide needs names that no other test has.
 */
export class OwnNamespace extends RealCluster implements AsyncDisposable {
  static readonly #open = new Set<OwnNamespace>();

  static async open(): Promise<OwnNamespace> {
    const name = freshName('test');
    const cluster = new RealCluster();
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    const own = new OwnNamespace(name);
    OwnNamespace.#open.add(own);
    // no pod without an account and what it trusts: kube-controller-manager brings both
    const first = ['serviceaccount/default', 'configmap/kube-root-ca.crt'];
    await eventually(
      `${first.join(' and ')} in namespace ${name}`,
      async () => {
        // kubectl wait --for=create fails now and then where it has seen the one and not yet the other
        const found = await own.kubectl(['get', ...first, '--ignore-not-found', '--output=name']);
        return found.split('\n').length === first.length;
      },
      60_000,
      kubectlEveryMs,
    );
    return own;
  }

  /** Of tests that did not come to their end: all of them, also where one cannot be cleared. */
  static async closeAll(): Promise<void> {
    const ends = await Promise.allSettled([...OwnNamespace.#open].map((own) => own[Symbol.asyncDispose]()));
    const failures = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await removeVolumes(this);
    } finally {
      // a snapshot is kept for as long as a claim waits to be made of it, and a claim that one is being made of for as long as that
      await this.remove('volumesnapshot', '--all');
    }
    // it takes the namespace controller some seconds, and nobody waits for it
    await this.kubectl(['delete', 'namespace', this.namespace, '--wait=false', '--ignore-not-found']);
    OwnNamespace.#open.delete(this);
  }
}
