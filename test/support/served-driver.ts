import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Metadata, type CallOptions, type Client, type ServiceError } from '@grpc/grpc-js';
import { channelTo } from '../../src/csi/channel.ts';
import { startCsiServer, type CsiServerOptions } from '../../src/csi/server.ts';
import { csi } from '../../src/csi/wire.ts';
import type { CallContext } from '../../src/model/csi-driver.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { recordingController, recordingLog, recordingMetrics, recordingNode } from './recording-drivers.ts';

/** A scratch folder with a path short enough for sockets. */
export async function scratchFolder() {
  const path = await mkdtemp(join(tmpdir(), 'loam-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A CSI server on a real socket with recording drivers behind it, and clients that send whatever a test likes. */
export async function serveDrivers(
  overrides: {
    readonly controller?: Parameters<typeof recordingController>[0];
    readonly node?: Parameters<typeof recordingNode>[0];
    readonly server?: Partial<CsiServerOptions>;
  } = {},
) {
  const folder = await scratchFolder();
  const socketPath = join(folder.path, 'csi.sock');
  const controller = recordingController(overrides.controller);
  const node = recordingNode(overrides.node);
  const log = recordingLog();
  const metrics = recordingMetrics();
  const server = await startCsiServer({
    socketPath,
    controller: controller.driver,
    node: node.driver,
    identity: { name: 'loam.dev', vendorVersion: '0.1.0' },
    log: log.log,
    metrics: metrics.metrics,
    clock: systemClock,
    ...overrides.server,
  });
  const clients = {
    identity: new csi.Identity(...channelTo(socketPath)),
    controller: new csi.Controller(...channelTo(socketPath)),
    node: new csi.Node(...channelTo(socketPath)),
  };
  return {
    socketPath,
    server,
    clients,
    controllerCalls: controller.calls,
    nodeCalls: node.calls,
    logLines: log.lines,
    observed: metrics.observed,
    [Symbol.asyncDispose]: async () => {
      for (const client of Object.values(clients)) client.close();
      await server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

interface Method {
  (
    request: never,
    metadata: Metadata,
    options: CallOptions,
    done: (error: ServiceError | null, response?: object) => void,
  ): unknown;
}

/** Any method of a raw client by name, as a promise. Five seconds without an answer are an answer too. */
export async function send(
  client: Client,
  method: string,
  request: object,
  metadata = new Metadata(),
): Promise<object> {
  const { promise, resolve, reject } = Promise.withResolvers<object>();
  // by name, because bad requests are what the generated types forbid
  const call = (client as unknown as Record<string, Method>)[method];
  if (call === undefined) throw new TypeError(`no method ${method}`);
  call.call(client, request as never, metadata, { deadline: Date.now() + 5000 }, (error, response) => {
    if (error === null) resolve(response ?? {});
    else reject(error);
  });
  return promise;
}

/** The status that a call is refused with. */
export async function refusal(
  answer: Promise<unknown>,
): Promise<{ readonly code: number; readonly details: string }> {
  try {
    await answer;
  } catch (error) {
    const { code, details } = error as ServiceError;
    return { code, details };
  }
  throw new Error('the call was served');
}

/** A context that nobody aborts. */
export function anyCall(timeoutMs = 20_000): CallContext {
  return { signal: new AbortController().signal, deadlineMs: Date.now() + timeoutMs };
}
