import { Server, ServerCredentials } from '@grpc/grpc-js';
import { keepSocket, type Listener } from '../host/kept-socket.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { RegistrationHandlers } from './generated/pluginregistration/Registration.ts';
import { pluginregistration } from './wire.ts';

export interface RegistrationOptions {
  /** below kubelet's plugins_registry; `<driver>-reg.sock` is the name that node-driver-registrar would take, too */
  readonly socketPath: string;
  readonly driverName: string;
  /** the CSI socket as kubelet sees it */
  readonly endpoint: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** how often to look whether the socket is still ours */
  readonly checkEveryMs?: number;
}

export interface Registration {
  /** What kubelet said last, as long as the socket is ours. False until it has come by. */
  isRegistered(): boolean;
  close(): Promise<void>;
}

/**
 * Introduces the driver to kubelet, which watches the folder, asks each socket that appears who it is (and gives it one second
 * to say so), and tells it what came of it.
 *
 * Kubelet comes by as often as it likes: after its own restart, and whenever the file is new, which is how a restarted driver
 * is registered again. A refusal (another socket with the same driver's name is still there) is no reason to exit: kubelet
 * tries again by itself. Nothing is kept on disk but the socket.
 *
 * @throws StorageError 'host-failure' where the path cannot be a socket
 */
export async function startRegistration(options: RegistrationOptions): Promise<Registration> {
  const { socketPath, driverName, log, metrics, clock, checkEveryMs } = options;
  let outcome: 'unknown' | 'registered' | 'refused' = 'unknown';
  const remember = (registered: boolean, error: string): void => {
    outcome = registered ? 'registered' : 'refused';
    metrics.gauge('loam_kubelet_registered', { driver_name: driverName }, registered ? 1 : 0);
    if (registered) log.info({ driverName }, 'kubelet has registered the driver');
    else log.error({ driverName, error }, 'kubelet refused the driver; it will try again');
  };
  const kept = await keepSocket({
    socketPath,
    clock,
    log,
    open: (boundPath) => listen(handlers(options, remember), boundPath),
    ...(checkEveryMs === undefined ? {} : { checkEveryMs }),
  });
  log.info({ socketPath, endpoint: options.endpoint }, 'waiting for kubelet');
  return { isRegistered: () => outcome === 'registered' && kept.isOurs(), close: () => kept.close() };
}

function handlers(options: RegistrationOptions, remember: (registered: boolean, error: string) => void) {
  const info = {
    type: 'CSIPlugin',
    name: options.driverName,
    endpoint: options.endpoint,
    // kubelet's name for all of CSI 1.x; what node-driver-registrar says as well
    supportedVersions: ['1.0.0'],
  };
  const implementation: Pick<RegistrationHandlers, 'GetInfo' | 'NotifyRegistrationStatus'> = {
    GetInfo: (_call, callback) => {
      options.log.debug({ driverName: options.driverName }, 'kubelet asks who is there');
      callback(null, info);
    },
    NotifyRegistrationStatus: (call, callback) => {
      remember(call.request.pluginRegistered ?? false, call.request.error ?? '');
      callback(null, {});
    },
  };
  return { ...implementation };
}

async function listen(implementation: ReturnType<typeof handlers>, boundPath: string): Promise<Listener> {
  const server = new Server();
  server.addService(pluginregistration.Registration.service, implementation);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix://${boundPath}`, ServerCredentials.createInsecure(), (error) =>
    error === null ? resolve() : reject(error),
  );
  await promise;
  // Its calls end at once and are repeated by kubelet: nothing to drain.
  return { close: async () => server.forceShutdown() };
}
