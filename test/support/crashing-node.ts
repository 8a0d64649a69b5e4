import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFailed } from 'vitest';
import { connectNodeDriver, type RemoteNodeDriver } from '../../src/csi/node-client.ts';
import { ClusterUser } from './cluster-user.ts';
import type { ControlPlane } from './control-plane.ts';
import { clearLeftovers } from './host-leftovers.ts';
import { LoamProcess } from './loam-process.ts';
import type { AdapterName } from './local-node.ts';

/** A real node process that is killed and started again over the same pool, and what people and kubelet ask of it. */
export class CrashingNode implements AsyncDisposable {
  readonly folder: string;
  readonly poolPath: string;
  readonly user: ClusterUser;
  /** reconnects by itself */
  readonly kubelet: RemoteNodeDriver;
  readonly #start: () => Promise<LoamProcess>;
  #process: LoamProcess | undefined;

  private constructor(plane: ControlPlane, driverName: string, adapter: AdapterName) {
    this.folder = mkdtempSync(join(tmpdir(), 'loam-crash-'));
    this.poolPath = join(this.folder, 'pool');
    this.user = new ClusterUser(plane.api, driverName);
    this.kubelet = connectNodeDriver(join(this.folder, 'csi.sock'));
    this.#start = () =>
      LoamProcess.start({
        folder: this.folder,
        pools: [`p=${this.poolPath}`],
        kubeconfigPath: plane.kubeconfigPath,
        flags: [`--driver-name=${driverName}`, `--loop-through=${adapter}`],
      });
    onTestFailed(() => console.log(this.#process?.logTail(60)));
  }

  static async start(plane: ControlPlane, driverName: string, adapter: AdapterName): Promise<CrashingNode> {
    const node = new CrashingNode(plane, driverName, adapter);
    try {
      await node.startAgain();
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** kill -9 */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async startAgain(): Promise<void> {
    this.#process = await this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kubelet.close();
    await this.kill();
    clearLeftovers(this.folder);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
