import { Server, ServerCredentials } from '@grpc/grpc-js';
import { keepSocket, type Listener } from '../host/kept-socket.ts';
import type { Clock } from '../model/clock.ts';
import type { ControllerDriver } from '../model/csi-driver.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { NodeDriver } from '../model/node-driver.ts';
import { controllerHandlers } from './controller-service.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { IdentityHandlers } from './generated/csi/v1/Identity.ts';
import type { NodeHandlers } from './generated/csi/v1/Node.ts';
import { identityHandlers, type DriverIdentity } from './identity-service.ts';
import { nodeHandlers } from './node-service.ts';
import { serve, type Edge } from './unary.ts';
import { channelOptions, csi } from './wire.ts';

/** How long running calls may go on once the server is told to close. */
const drainMs = 5_000;

export interface CsiServerOptions {
  readonly socketPath: string;
  /** unset: no Controller service */
  readonly controller?: ControllerDriver;
  /** unset: no Node service */
  readonly node?: NodeDriver;
  readonly identity: DriverIdentity;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

export interface CsiServer {
  /** Whether the socket's name leads to this server, as of a look at most 10 s ago. */
  isServing(): boolean;
  /** Takes the socket away (only if it is still ours), lets running calls end for 5 s, then aborts them. */
  close(): Promise<void>;
}

/**
 * Serves CSI on a Unix socket of mode 0600. A socket of a predecessor is replaced, whether anybody still answers
 * on it or not; one that somebody removes is made again.
 *
 * @throws StorageError 'host-failure' where the path cannot be a socket
 */
export async function startCsiServer(options: CsiServerOptions): Promise<CsiServer> {
  const { socketPath, clock, log } = options;
  const kept = await keepSocket({ socketPath, clock, log, open: (boundPath) => listen(options, boundPath) });
  log.info({ socketPath }, 'serving CSI');
  return { isServing: () => kept.isOurs(), close: () => kept.close() };
}

async function listen(options: CsiServerOptions, boundPath: string): Promise<Listener> {
  const { identity, controller, node, log, metrics, clock } = options;
  const shutdown = new AbortController();
  const edge: Edge = { driverName: identity.name, log, metrics, clock, shutdown: shutdown.signal };
  const services = [
    serve<IdentityHandlers>(edge, csi.Identity.service, identityHandlers(identity, controller)),
    ...(controller === undefined
      ? []
      : [serve<ControllerHandlers>(edge, csi.Controller.service, controllerHandlers(controller))]),
    ...(node === undefined ? [] : [serve<NodeHandlers>(edge, csi.Node.service, nodeHandlers(node))]),
  ];
  const server = new Server(channelOptions);
  for (const { service, implementation } of services) server.addService(service, implementation);
  await bind(server, boundPath);
  return { close: () => drain(server, clock, shutdown) };
}

async function bind(server: Server, boundPath: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix://${boundPath}`, ServerCredentials.createInsecure(), (error) =>
    error === null ? resolve() : reject(error),
  );
  return promise;
}

async function drain(server: Server, clock: Clock, shutdown: AbortController): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stopTimer = clock.after(drainMs, () => {
    shutdown.abort();
    server.forceShutdown();
    resolve();
  });
  server.tryShutdown(() => resolve());
  await promise;
  stopTimer();
}
