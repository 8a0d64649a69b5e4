import type {
  handleUnaryCall,
  Metadata,
  ServerUnaryCall,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Clock } from '../model/clock.ts';
import type { CallContext } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { StatusCode } from '../model/status-code.ts';
import { givenUp, metricCode, wireStatus } from './status.ts';

/** What every served call needs besides its handler. */
export interface Edge {
  readonly driverName: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** aborts when the server is closed by force */
  readonly shutdown: AbortSignal;
}

export interface ServedCall extends CallContext {
  /** one text of the request's metadata */
  header(key: string): string | undefined;
}

type Handler<Request, Response> = (request: Request, call: ServedCall) => Promise<Response>;

/** Handlers of a generated service as plain async functions. A method that is left out answers UNIMPLEMENTED. */
export type Served<Handlers> = {
  readonly [
    Method in keyof Handlers as string extends Method ? never : Method
  ]?: Handlers[Method] extends handleUnaryCall<infer Request, infer Response>
    ? Handler<Request, Response>
    : never;
};

/** Questions that are asked all the time and change nothing: logged for debugging only. */
const quietMethod = /^(Probe|Get|List|NodeGet|ControllerGet|Validate)/;
/** Codes that a person has to look at. */
const alarming: ReadonlySet<StatusCode> = new Set(['INTERNAL', 'UNKNOWN', 'DATA_LOSS']);

/** Makes a gRPC service of handlers: every one goes through the same adapter. */
export function serve<Handlers>(
  edge: Edge,
  service: ServiceDefinition,
  handlers: Served<Handlers>,
): { readonly service: ServiceDefinition; readonly implementation: UntypedServiceImplementation } {
  const implementation: UntypedServiceImplementation = {};
  for (const [method, handler] of Object.entries(handlers)) {
    const path = service[method]?.path;
    if (path === undefined) throw new TypeError(`no service has a method ${method}`);
    // the types of the pair were checked where the handlers were written
    implementation[method] = unary(edge, path, handler as Handler<object, object>);
  }
  return { service, implementation };
}

/**
 * The one way from the wire to a handler and back: the caller's deadline and cancellation become a signal, a throw
 * becomes a status (never a hanging caller), and each call leaves one log line and one measurement.
 */
export function unary<Request extends object, Response>(
  edge: Edge,
  path: string,
  handler: Handler<Request, Response>,
): handleUnaryCall<Request, Response> {
  const method = path.slice(path.lastIndexOf('/') + 1);
  return (call, reply) => {
    const startedMs = edge.clock.nowMs();
    const { context, end } = openCall(edge, method, call);
    const finish = (name: StatusCode | 'OK', error?: unknown): void => {
      end();
      const seconds = Math.max(0, edge.clock.nowMs() - startedMs) / 1000;
      observe(edge, path, name, seconds);
      writeLine(edge.log, method, call.request, name, seconds, error);
    };
    invoke(handler, call.request, context).then(
      (response) => {
        finish('OK');
        reply(null, response);
      },
      (error: unknown) => {
        const { name, code, details } = wireStatus(error, context.signal);
        finish(name, error);
        reply({ code, details });
      },
    );
  };
}

/** Async, so that what a handler throws before its first await is a rejection too. */
async function invoke<Request, Response>(
  handler: Handler<Request, Response>,
  request: Request,
  context: ServedCall,
) {
  return handler(request, context);
}

function openCall<Request, Response>(edge: Edge, method: string, call: ServerUnaryCall<Request, Response>) {
  const controller = new AbortController();
  const deadlineMs = deadlineOf(call.getDeadline());
  const giveUp = (): void => controller.abort(givenUp(method, deadlineMs, edge.clock.nowMs()));
  const shutDown = (): void =>
    controller.abort(
      new StorageError('cancelled', `${method} was ended by the driver's shutdown; repeat it`),
    );
  const stopTimer =
    deadlineMs === undefined
      ? undefined
      : edge.clock.after(Math.max(0, deadlineMs - edge.clock.nowMs()), giveUp);
  call.once('cancelled', giveUp);
  edge.shutdown.addEventListener('abort', shutDown, { once: true });
  const end = (): void => {
    stopTimer?.();
    call.removeListener('cancelled', giveUp);
    edge.shutdown.removeEventListener('abort', shutDown);
  };
  const context: ServedCall = {
    signal: controller.signal,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    header: (key) => textOf(call.metadata, key),
  };
  return { context, end };
}

/** Beyond what a timer can hold (25 days), a deadline is none. */
function deadlineOf(deadline: Date | number): number | undefined {
  const deadlineMs = typeof deadline === 'number' ? deadline : deadline.getTime();
  return deadlineMs - Date.now() < 2 ** 31 ? deadlineMs : undefined;
}

function textOf(metadata: Metadata, key: string): string | undefined {
  const value = metadata.get(key)[0];
  return typeof value === 'string' ? value : undefined;
}

function observe(edge: Edge, path: string, name: StatusCode | 'OK', seconds: number): void {
  const labels = { driver_name: edge.driverName, method_name: path, grpc_status_code: metricCode(name) };
  edge.metrics.observeSeconds('csi_plugin_operations_seconds', labels, seconds);
}

function writeLine(
  log: Log,
  method: string,
  request: object,
  code: StatusCode | 'OK',
  seconds: number,
  error: unknown,
): void {
  const facts = { method, code, durationMs: Math.round(seconds * 1000), ...subjectOf(request) };
  if (code === 'OK') {
    if (quietMethod.test(method)) log.debug(facts, 'served');
    else log.info(facts, 'served');
    return;
  }
  const failure = {
    ...(error instanceof StorageError ? { ...error.facts, reason: error.reason } : {}),
    ...facts,
    error,
  };
  if (alarming.has(code)) log.error(failure, 'call failed');
  else
    log.warn({ ...failure, error: error instanceof Error ? error.message : String(error) }, 'call refused');
}

/** The volume or snapshot that a request is about. Nothing else of it is logged: requests carry secrets. */
function subjectOf(request: object): Readonly<Record<string, string>> {
  const fields = request as Readonly<Record<string, unknown>>;
  const known = ['volumeId', 'snapshotId', 'sourceVolumeId', 'name'].flatMap((key) => {
    const value = fields[key];
    return typeof value === 'string' && value !== '' ? [[key, value.slice(0, 128)] as const] : [];
  });
  return Object.fromEntries(known);
}
