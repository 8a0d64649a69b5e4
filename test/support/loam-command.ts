import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { clusterScript, type RealCluster } from './real-cluster.ts';

const run = promisify(execFile);
const plugin = join(import.meta.dirname, '../../deploy/kubectl-loam');

const inLoams = ['--namespace=loam-system'];

/** What an operator sees who runs `loam` in the pod of that node; both streams where it fails. */
export async function loamOn(
  cluster: RealCluster,
  node: string,
  ...args: readonly string[]
): Promise<string> {
  const pod = await cluster.kubectl([
    ...inLoams,
    'get',
    'pods',
    '--selector=app.kubernetes.io/component=node',
    `--field-selector=spec.nodeName=${node},status.phase=Running`,
    '--output=jsonpath={.items[0].metadata.name}',
  ]);
  return cluster.kubectl([...inLoams, 'exec', pod, '--', 'loam', ...args]);
}

/** What an administrator sees who has the plugin, on either stream. */
export async function kubectlLoam(...args: readonly string[]): Promise<string> {
  const kubeconfig = await clusterScript('kubeconfig');
  // where scripts/cluster has its kubectl, too
  const PATH = `${dirname(kubeconfig)}:${process.env['PATH'] ?? ''}`;
  const env = { ...process.env, PATH, KUBECONFIG: kubeconfig };
  const { stdout, stderr } = await run(plugin, args, { env, timeout: 120_000 });
  return `${stderr}${stdout}`.trim();
}
