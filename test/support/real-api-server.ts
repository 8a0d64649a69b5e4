import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildProgram } from './child-program.ts';
import { freePorts } from './free-ports.ts';
import { buildGoTool } from './go-tools.ts';

/** folders of servers that nobody has stopped yet; child-program.ts ends the programs themselves */
const inUse = new Set<string>();
process.once('exit', () => {
  for (const path of inUse) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
});

interface RealApiServerOptions {
  /** More flags for kube-apiserver. The folder is there, so that files which they name can be put into it. */
  readonly apiServerFlags?: (directoryPath: string) => readonly string[];
}

interface ControllerManagerOptions {
  /** lifts its client-side limit of 20 writes a second */
  readonly apiQps?: number;
  /** its `--controllers`, all unless told */
  readonly controllers?: string;
  /**
   * How long a claim waits that its binder could not serve at once, because it had heard of the claim before the PV, or because others
   * wrote the object meanwhile: it looks at everything again once in this time, and not before. Upstream's 15 s unless told.
   */
  readonly binderSyncPeriod?: `${number}s`;
}

/**
 * The real kube-apiserver over a real etcd, on free ports of 127.0.0.1 and with all its data in a folder of its own. Ready in two
 * seconds once built. Service accounts are not required of pods, so that pods can be written without the controller manager.
 */
export class RealApiServer implements AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** what its certificate is verified with */
  readonly caPath: string;
  /** an administrator's */
  readonly kubeconfigPath: string;
  readonly directoryPath: string;
  readonly #etcdUrl: string;
  readonly #peerUrl: string;
  readonly #flags: readonly string[];
  #etcd: ChildProgram | undefined;
  #apiServer: ChildProgram | undefined;
  #controllerManager: ChildProgram | undefined;
  #scheduler: ChildProgram | undefined;

  private constructor(directoryPath: string, ports: readonly number[], options: RealApiServerOptions) {
    const [etcdPort = 0, peerPort = 0, port = 0] = ports;
    this.directoryPath = directoryPath;
    this.url = `https://127.0.0.1:${port}`;
    this.#etcdUrl = `http://127.0.0.1:${etcdPort}`;
    this.#peerUrl = `http://127.0.0.1:${peerPort}`;
    this.token = randomBytes(16).toString('hex');
    this.caPath = join(directoryPath, 'cert/apiserver.crt');
    this.kubeconfigPath = join(directoryPath, 'admin.kubeconfig');
    this.#flags = [
      `--etcd-servers=${this.#etcdUrl}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      // its own address is not one for the kubernetes service's endpoints
      '--endpoint-reconciler-type=none',
      `--secure-port=${port}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      `--cert-dir=${join(directoryPath, 'cert')}`,
      `--token-auth-file=${join(directoryPath, 'tokens.csv')}`,
      '--authorization-mode=Node,RBAC',
      `--service-account-key-file=${join(directoryPath, 'service-account.pub')}`,
      `--service-account-signing-key-file=${join(directoryPath, 'service-account.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--allow-privileged=true',
      '--disable-admission-plugins=ServiceAccount',
      ...(options.apiServerFlags?.(directoryPath) ?? []),
    ];
  }

  static async start(options: RealApiServerOptions = {}): Promise<RealApiServer> {
    const directoryPath = await mkdtemp(join(tmpdir(), 'loam-api-'));
    inUse.add(directoryPath);
    const server = new RealApiServer(directoryPath, await freePorts(3), options);
    try {
      await server.#writeFiles();
      await server.#startEtcd();
      await server.startApiServer();
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  /** After `killApiServer`: the same address, the same data. */
  async startApiServer(): Promise<void> {
    const path = await buildGoTool('kube-apiserver');
    this.#apiServer = this.#run('kube-apiserver', path, this.#flags);
    await this.#apiServer.whenReady(() => answersOk(`${this.url}/readyz`), 60_000);
  }

  /** As a crash does. */
  async killApiServer(): Promise<void> {
    await this.#apiServer?.kill();
  }

  async startControllerManager(options: ControllerManagerOptions = {}): Promise<void> {
    const path = await buildGoTool('kube-controller-manager');
    const [port = 0] = await freePorts(1);
    const { apiQps, controllers, binderSyncPeriod } = options;
    this.#controllerManager = this.#run('kube-controller-manager', path, [
      `--kubeconfig=${this.kubeconfigPath}`,
      `--service-account-private-key-file=${join(this.directoryPath, 'service-account.key')}`,
      `--root-ca-file=${this.caPath}`,
      '--use-service-account-credentials=true',
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      `--cert-dir=${join(this.directoryPath, 'controller-manager')}`,
      ...(apiQps === undefined ? [] : [`--kube-api-qps=${apiQps}`, `--kube-api-burst=${apiQps}`]),
      ...(controllers === undefined ? [] : [`--controllers=${controllers}`]),
      ...(binderSyncPeriod === undefined ? [] : [`--pvclaimbinder-sync-period=${binderSyncPeriod}`]),
    ]);
    await this.#controllerManager.whenReady(() => answersOk(`https://127.0.0.1:${port}/healthz`), 60_000);
  }

  async startScheduler(): Promise<void> {
    const path = await buildGoTool('kube-scheduler');
    const [port = 0] = await freePorts(1);
    this.#scheduler = this.#run('kube-scheduler', path, [
      `--kubeconfig=${this.kubeconfigPath}`,
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      `--cert-dir=${join(this.directoryPath, 'scheduler')}`,
    ]);
    await this.#scheduler.whenReady(() => answersOk(`https://127.0.0.1:${port}/healthz`), 60_000);
  }

  async killControllerManager(): Promise<void> {
    await this.#controllerManager?.kill();
  }

  /** Ends all of it and removes its folder. */
  async stop(): Promise<void> {
    await this.#scheduler?.kill();
    await this.#controllerManager?.kill();
    await this.#apiServer?.kill();
    await this.#etcd?.kill();
    await rm(this.directoryPath, { recursive: true, force: true });
    inUse.delete(this.directoryPath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #writeFiles(): Promise<void> {
    const write = (name: string, text: string) =>
      writeFile(join(this.directoryPath, name), text, { mode: 0o600 });
    const { publicKey, privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    await write('service-account.pub', publicKey);
    await write('service-account.key', privateKey);
    await write('tokens.csv', `${this.token},admin,admin,"system:masters"\n`);
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server: this.url, 'certificate-authority': this.caPath } }],
      users: [{ name: 'admin', user: { token: this.token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
      'current-context': 'test',
    };
    // JSON is YAML too
    await write('admin.kubeconfig', JSON.stringify(kubeconfig));
  }

  async #startEtcd(): Promise<void> {
    this.#etcd = this.#run('etcd', 'etcd', [
      `--data-dir=${join(this.directoryPath, 'etcd')}`,
      `--listen-client-urls=${this.#etcdUrl}`,
      `--advertise-client-urls=${this.#etcdUrl}`,
      `--listen-peer-urls=${this.#peerUrl}`,
      `--initial-advertise-peer-urls=${this.#peerUrl}`,
      `--initial-cluster=default=${this.#peerUrl}`,
      // nothing here has to survive the machine
      '--unsafe-no-fsync',
    ]);
    await this.#etcd.whenReady(async () => (await fetch(`${this.#etcdUrl}/health`)).ok, 30_000);
  }

  #run(name: string, command: string, args: readonly string[]): ChildProgram {
    return new ChildProgram(command, args, { name, logPath: join(this.directoryPath, `${name}.log`) });
  }
}

/** Whether it says that it is well; who it is does not matter on loopback. */
function answersOk(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get(url, { rejectUnauthorized: false, timeout: 2_000, agent: false }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode === 200));
    });
    request.once('error', () => resolve(false));
    request.once('timeout', () => request.destroy());
  });
}
