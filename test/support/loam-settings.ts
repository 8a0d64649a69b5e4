import { renderChart } from './chart.ts';
import { type Manifest, ofKind, parseManifests } from './manifests.ts';
import type { RealCluster } from './real-cluster.ts';

const inLoams = ['--namespace=loam-system'];
type Workload = ReturnType<typeof ofKind<'DaemonSet' | 'Deployment'>>[number];

/** Gives the installed Loam what the chart says for these values (`inline.maxSize=64Mi`), as an upgrade with them would; none: the defaults. */
export async function installWith(cluster: RealCluster, ...values: readonly string[]): Promise<void> {
  await replaceDriver(cluster, ...values);
  await replaceArguments(cluster, ...values);
}

/** The CSIDriver only: its modes cannot be changed in place. */
export async function replaceDriver(cluster: RealCluster, ...values: readonly string[]): Promise<void> {
  const [driver] = ofKind(await render(values), 'CSIDriver');
  const modes = JSON.stringify(driver?.spec['volumeLifecycleModes']);
  if ((await cluster.field('csidriver', 'loam.dev', '.spec.volumeLifecycleModes')) === modes) return;
  await cluster.kubectl(['replace', '--force', '-f', '-'], JSON.stringify(driver));
}

/** The processes' flags and their accounts' rights, and new pods where they are others; the rest of the pods stays as it was installed. */
export async function replaceArguments(cluster: RealCluster, ...values: readonly string[]): Promise<void> {
  const manifests = await render(values);
  const workloads = [...ofKind(manifests, 'DaemonSet'), ...ofKind(manifests, 'Deployment')];
  // what a process may do follows from what it was told to do
  const roles = [...ofKind(manifests, 'ClusterRole'), ...ofKind(manifests, 'Role')];
  await cluster.kubectl(['apply', '-f', '-'], roles.map((role) => JSON.stringify(role)).join('\n---\n'));
  const unavailable = await atOnce(cluster, '100%');
  try {
    await Promise.all(workloads.map((workload) => replaceArgumentsOf(cluster, workload)));
  } finally {
    await atOnce(cluster, unavailable);
  }
  await cluster.untilLoamReady();
}

/** How many nodes may be without Loam while its pods are replaced: tests wait for all of them, and one after another takes thrice as long. @returns what it was */
async function atOnce(cluster: RealCluster, maxUnavailable: string): Promise<string> {
  const before = await cluster.kubectl([
    ...inLoams,
    'get',
    'daemonset',
    'loam-node',
    '--output=jsonpath={.spec.updateStrategy.rollingUpdate.maxUnavailable}',
  ]);
  const patch = JSON.stringify({ spec: { updateStrategy: { rollingUpdate: { maxUnavailable } } } });
  await cluster.kubectl([...inLoams, 'patch', 'daemonset', 'loam-node', '--type=merge', `--patch=${patch}`]);
  return before;
}

async function replaceArgumentsOf(cluster: RealCluster, workload: Workload): Promise<void> {
  const kind = workload.kind.toLowerCase();
  const { name } = workload.metadata;
  const { containers, volumes } = workload.spec.template.spec;
  const patch = JSON.stringify([
    { op: 'replace', path: '/spec/template/spec/containers/0/args', value: containers[0]?.args },
    // a pool is a volume of the DaemonSet's pods
    ...(volumes === undefined
      ? []
      : [
          { op: 'replace', path: '/spec/template/spec/volumes', value: volumes },
          {
            op: 'replace',
            path: '/spec/template/spec/containers/0/volumeMounts',
            value: containers[0]?.volumeMounts,
          },
        ]),
  ]);
  await cluster.kubectl([...inLoams, 'patch', kind, name, '--type=json', `--patch=${patch}`]);
  await cluster.kubectl([...inLoams, 'rollout', 'status', `${kind}/${name}`, '--timeout=110s']);
}

async function render(values: readonly string[]): Promise<readonly Manifest[]> {
  return parseManifests(await renderChart(...values.map((value) => `--set=${value}`)));
}
