import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildGoTool } from './go-tools.ts';

const run = promisify(execFile);
const project = join(import.meta.dirname, '../..');
export const chartPath = join(project, 'deploy/chart');
/** What `kubectl apply -k deploy/kubernetes` applies beside the namespace. */
export const manifestPath = join(project, 'deploy/kubernetes/loam.yaml');

/** Where helm asks no cluster it would otherwise think of one of 2020. */
const forKube = ['--kube-version', 'v1.36.3'];

/** @throws with helm's stderr in the message, where it refuses the chart or the values */
export async function helm(...args: readonly string[]): Promise<string> {
  const { stdout } = await run(await buildGoTool('helm'), args, {
    timeout: 60_000,
    // no plugins, repositories or settings of whoever runs this
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', HELM_NAMESPACE: 'loam-system' },
    maxBuffer: 8 << 20,
  });
  return stdout;
}

/** The manifests of the chart's release `loam` in the namespace `loam-system`. @param flags such as `--set` */
export function renderChart(...flags: readonly string[]): Promise<string> {
  return helm('template', 'loam', chartPath, ...forKube, ...flags);
}

/** @throws where helm finds a fault, or what it would warn of */
export function lintChart(): Promise<string> {
  return helm('lint', '--strict', chartPath, ...forKube);
}
