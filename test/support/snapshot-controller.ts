import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ChildProgram } from './child-program.ts';
import { buildGoTool, goModuleFolder } from './go-tools.ts';

const run = promisify(execFile);
const clientModule = 'github.com/kubernetes-csi/external-snapshotter/client/v8';
const kinds = ['volumesnapshots', 'volumesnapshotcontents', 'volumesnapshotclasses'];

/** Installs the custom resources of snapshots, as their module has them. Resolves when the API server serves them. */
export async function installSnapshotKinds(kubeconfigPath: string): Promise<void> {
  const folder = join(await goModuleFolder('snapshotter', clientModule), 'config/crd');
  const files = kinds.flatMap((kind) => ['-f', join(folder, `snapshot.storage.k8s.io_${kind}.yaml`)]);
  const kubectl = await buildGoTool('kubectl');
  const access = ['--kubeconfig', kubeconfigPath];
  await run(kubectl, [...access, 'apply', '--server-side', ...files]);
  const names = kinds.map((kind) => `crd/${kind}.snapshot.storage.k8s.io`);
  await run(kubectl, [...access, 'wait', '--for=condition=Established', '--timeout=30s', ...names]);
}

/** external-snapshotter's snapshot-controller: the half of snapshots that each cluster has once, for all drivers. */
export class SnapshotController implements AsyncDisposable {
  readonly #program: ChildProgram;
  readonly #folder: string;

  private constructor(program: ChildProgram, folder: string) {
    this.#program = program;
    this.#folder = folder;
  }

  static async start(kubeconfigPath: string): Promise<SnapshotController> {
    const path = await buildGoTool('snapshot-controller');
    const folder = await mkdtemp(join(tmpdir(), 'loam-snapshot-controller-'));
    const program = new ChildProgram(
      path,
      [
        `--kubeconfig=${kubeconfigPath}`,
        '--leader-election=false',
        // it waits half a minute for the kinds of groups otherwise
        '--feature-gates=CSIVolumeGroupSnapshot=false',
        // its limits are those of a cluster with thousands of nodes
        '--kube-api-qps=500',
        '--kube-api-burst=500',
        '--retry-interval-start=200ms',
      ],
      { name: 'snapshot-controller', logPath: join(folder, 'log') },
    );
    return new SnapshotController(program, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
