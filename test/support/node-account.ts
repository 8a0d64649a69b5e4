import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { eventually } from './eventually.ts';
import { buildGoTool } from './go-tools.ts';
import { anEventBy } from './node-objects.ts';
import type { RealApiServer } from './real-api-server.ts';

const run = promisify(execFile);
const manifests = join(import.meta.dirname, '../../deploy/kubernetes');

interface CreatedByKubectl {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** What `kubectl` does on a real API server, as its administrator unless told. */
export class Kubectl {
  readonly #server: RealApiServer;
  readonly #folder: string;
  readonly #path: string;

  private constructor(server: RealApiServer, folder: string, path: string) {
    this.#server = server;
    this.#folder = folder;
    this.#path = path;
  }

  static async of(server: RealApiServer, folder: string): Promise<Kubectl> {
    return new Kubectl(server, folder, await buildGoTool('kubectl'));
  }

  /** @throws with kubectl's stderr in the message */
  run(...args: readonly string[]): Promise<string> {
    return this.as(this.#server.kubeconfigPath, ...args);
  }

  async as(kubeconfigPath: string, ...args: readonly string[]): Promise<string> {
    const flags = [`--kubeconfig=${kubeconfigPath}`, `--cache-dir=${join(this.#folder, 'kubectl')}`];
    return (await run(this.#path, [...flags, ...args], { timeout: 60_000, maxBuffer: 8 << 20 })).stdout;
  }

  applyLoam(): Promise<string> {
    return this.run('apply', '-k', manifests, '--validate=strict');
  }

  /** The API server takes policies up a second or so after they are there: waits until a token without a node may not write. */
  async untilConfined(): Promise<void> {
    const access = loadKubeAccess(await this.kubeconfigOf('loam-node'));
    const api = createKubeApi(access, { metrics: noMetrics, userAgent: 'loam-test' });
    let count = 0;
    try {
      await eventually('the policies to be in force', async () => {
        try {
          await api.create(
            'Event',
            anEventBy('node-a', `probe-${(count += 1)}`),
            AbortSignal.timeout(10_000),
          );
          return false;
        } catch (error) {
          return String(error).includes('ValidatingAdmissionPolicy');
        }
      });
    } finally {
      await api.close();
    }
  }

  async create(object: CreatedByKubectl): Promise<void> {
    const path = join(this.#folder, `${object.kind}-${object.metadata.name}.json`);
    writeFileSync(path, JSON.stringify(object));
    await this.run('create', '-f', path);
  }

  /**
   * A kubeconfig of a service account of loam-system. Bound to a Node, or to a Pod that is on one, the token names the node as those
   * do that kubelet gets for its pods; else it names none.
   */
  async kubeconfigOf(
    account: string,
    bound?: { readonly kind: 'Node' | 'Pod'; readonly name: string },
  ): Promise<string> {
    const flags =
      bound === undefined ? [] : [`--bound-object-kind=${bound.kind}`, `--bound-object-name=${bound.name}`];
    const token = await this.run('-n', 'loam-system', 'create', 'token', account, ...flags);
    const kubeconfig = JSON.parse(readFileSync(this.#server.kubeconfigPath, 'utf8')) as object;
    const users = [{ name: 'admin', user: { token: token.trim() } }];
    const path = join(this.#folder, `${account}-${bound?.name ?? 'unbound'}.kubeconfig`);
    writeFileSync(path, JSON.stringify({ ...kubeconfig, users }), { mode: 0o600 });
    return path;
  }
}
