import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EmbeddedControlPlane, startEmbeddedControlPlane } from '../../src/embedded/start.ts';
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import type { KubeApi } from '../../src/kube/kube-api.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { RealApiServer } from './real-api-server.ts';

/** What a claim's story needs of kube-controller-manager. */
const controllers = [
  'persistentvolume-binder-controller',
  'persistentvolumeclaim-protection-controller',
  'persistentvolume-protection-controller',
].join(',');

/** An API server with the controllers that bind claims: the same stories run on each. */
export interface ControlPlane extends AsyncDisposable {
  readonly kubeconfigPath: string;
  readonly url: string;
  /** what a proxy has to add to requests */
  readonly headers: Readonly<Record<string, string>>;
  /** the test's own way in */
  readonly api: KubeApi;
  /** No claim is bound and none annotated, as while kube-controller-manager is away. */
  pauseBinder(): Promise<void>;
  resumeBinder(): Promise<void>;
  /** The API server is gone as in a crash; everything that it knew is there again after `bringBack`. */
  takeAway(): Promise<void>;
  bringBack(): Promise<void>;
}

export const planeNames = ['embedded', 'real'] as const;
export type PlaneName = (typeof planeNames)[number];

/** Begun, and nobody's yet. One that nobody wants ends with this process. */
let realAhead: Promise<ControlPlane> | undefined;

/** Stories are run on the embedded one first: meanwhile the real one, which takes some seconds, is started. */
export function startControlPlane(name: PlaneName): Promise<ControlPlane> {
  if (name === 'embedded') {
    realAhead ??= RealPlane.start();
    // whoever asks for it is told
    realAhead.catch(() => {});
    return EmbeddedPlane.start();
  }
  const real = realAhead ?? RealPlane.start();
  realAhead = undefined;
  return real;
}

/** With Kubernetes' own scheduler too. */
export function startScheduledPlane(): Promise<ControlPlane> {
  return RealPlane.start(true);
}

/** The embedded control plane, with what only it has beside it. */
export class EmbeddedPlane implements ControlPlane {
  readonly kubeconfigPath: string;
  readonly url: string;
  readonly headers = {};
  readonly api: KubeApi;
  readonly embedded: EmbeddedControlPlane;
  readonly #folder: string;

  private constructor(plane: EmbeddedControlPlane, folder: string) {
    this.embedded = plane;
    this.#folder = folder;
    this.url = plane.url;
    this.api = plane.api;
    this.kubeconfigPath = join(folder, 'kubeconfig');
  }

  /** @param scheduler whether pods are put on nodes */
  static async start(scheduler = false): Promise<EmbeddedPlane> {
    const folder = await mkdtemp(join(tmpdir(), 'loam-embedded-'));
    const plane = await startEmbeddedControlPlane({
      nodes: ['node-a', 'node-b'],
      binder: true,
      scheduler,
      clock: systemClock,
      log: silentLog,
    });
    await writeFile(join(folder, 'kubeconfig'), plane.kubeconfigText);
    return new EmbeddedPlane(plane, folder);
  }

  pauseBinder(): Promise<void> {
    this.embedded.binder?.pause(true);
    return Promise.resolve();
  }

  resumeBinder(): Promise<void> {
    this.embedded.binder?.pause(false);
    return Promise.resolve();
  }

  takeAway(): Promise<void> {
    return this.embedded.faults.refuseConnections();
  }

  bringBack(): Promise<void> {
    return this.embedded.faults.acceptConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.embedded.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

class RealPlane implements ControlPlane {
  readonly kubeconfigPath: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly api: KubeApi & { close(): Promise<void> };
  readonly #server: RealApiServer;

  private constructor(server: RealApiServer) {
    this.#server = server;
    this.url = server.url;
    this.headers = { authorization: `Bearer ${server.token}` };
    this.kubeconfigPath = server.kubeconfigPath;
    this.api = createKubeApi(loadKubeAccess(server.kubeconfigPath), {
      metrics: noMetrics,
      userAgent: 'loam-test',
    });
  }

  static async start(withScheduler = false): Promise<RealPlane> {
    const server = await RealApiServer.start();
    const plane = new RealPlane(server);
    try {
      await plane.resumeBinder();
      if (withScheduler) await server.startScheduler();
      return plane;
    } catch (error) {
      await plane[Symbol.asyncDispose]();
      throw error;
    }
  }

  pauseBinder(): Promise<void> {
    return this.#server.killControllerManager();
  }

  resumeBinder(): Promise<void> {
    return this.#server.startControllerManager({ apiQps: 2000, controllers, binderSyncPeriod: '1s' });
  }

  takeAway(): Promise<void> {
    return this.#server.killApiServer();
  }

  bringBack(): Promise<void> {
    return this.#server.startApiServer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api.close();
    await this.#server.stop();
  }
}
