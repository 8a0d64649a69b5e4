import { type FSWatcher, lstatSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { channelTo } from '../../src/csi/channel.ts';
import { connectNodeDriver } from '../../src/csi/node-client.ts';
import { pluginregistration } from '../../src/kubelet/wire.ts';
import { send } from './served-driver.ts';

/** What kubelet learnt of one plugin. */
export interface SeenPlugin {
  readonly name: string;
  readonly endpoint: string;
  readonly nodeId: string;
}

/**
 * Kubelet's plugin watcher: asks every socket that is in the folder when it starts, and every one that appears later, who it
 * is; looks at the driver behind it; says that it is registered.
 */
export class PluginWatcher implements AsyncDisposable {
  readonly seen: SeenPlugin[] = [];
  readonly #folder: string;
  readonly #watcher: FSWatcher;
  readonly #inodes = new Map<string, bigint>();
  #work: Promise<void> = Promise.resolve();

  constructor(folder: string) {
    this.#folder = folder;
    this.#watcher = watch(folder, () => this.#scan());
    this.#scan();
  }

  async stop(): Promise<void> {
    this.#watcher.close();
    await this.#work;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #scan(): void {
    for (const name of readdirSync(this.#folder)) {
      if (name.startsWith('.')) continue;
      const path = join(this.#folder, name);
      const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
      if (found?.isSocket() !== true || this.#inodes.get(name) === found.ino) continue;
      this.#inodes.set(name, found.ino);
      this.#work = this.#work.then(() => this.#register(path)).catch(() => {});
    }
  }

  async #register(path: string): Promise<void> {
    const client = new pluginregistration.Registration(...channelTo(path));
    try {
      const { name, endpoint } = (await send(client, 'getInfo', {})) as Omit<SeenPlugin, 'nodeId'>;
      const driver = connectNodeDriver(endpoint);
      const { nodeId } = await driver.nodeInfo({ signal: AbortSignal.timeout(5000) });
      driver.close();
      // first, so that a driver which says that it is registered has been seen
      this.seen.push({ name, endpoint, nodeId });
      await send(client, 'notifyRegistrationStatus', { pluginRegistered: true });
    } finally {
      client.close();
    }
  }
}
