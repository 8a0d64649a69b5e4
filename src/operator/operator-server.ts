import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { messageOf, StorageError } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { statusCodeOf, type StatusCode } from '../model/status-code.ts';
import { longestBodyBytes, readAdoption, readArchiveRemoval, readRemoval } from './read-request.ts';
import { mayBeDone, type OperatorPorts, type Refusal } from './report.ts';

type Route = (ports: OperatorPorts, body: string, signal: AbortSignal) => Promise<unknown>;

/** Everything that can be asked; nothing else is. */
const routes: Readonly<Record<string, Route>> = {
  'GET /volumes': (ports, _, signal) => ports.volumes(signal),
  'GET /gc': (ports, _, signal) => ports.plan(signal),
  'POST /gc/remove': (ports, body, signal) => ports.remove(readRemoval(body), signal),
  'POST /gc/remove-archived': (ports, body, signal) => ports.removeArchived(readArchiveRemoval(body), signal),
  'POST /gc/forget': (ports, body, signal) => ports.forget(readRemoval(body), signal),
  'POST /adopt': (ports, body, signal) => ports.adopt(readAdoption(body), signal),
};

const httpStatuses: Partial<Record<StatusCode, number>> = {
  INVALID_ARGUMENT: 400,
  OUT_OF_RANGE: 400,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  FAILED_PRECONDITION: 409,
  ABORTED: 409,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
};

/** How long a request may take to arrive. */
const arrivalMs = 10_000;
/** How long a refusal may take to leave once the server is told to close. */
const drainMs = 1_000;

export interface OperatorServer {
  /** Stops accepting and aborts what is under way: each verb can be repeated. */
  close(): Promise<void>;
}

/**
 * Serves the operator's commands on a Unix socket, whose file's mode is the only lock: who can open it may destroy data.
 * JSON both ways; failures are `{code, message}` with the sentence for people.
 */
export async function serveOperator(options: {
  readonly boundPath: string;
  readonly ports: OperatorPorts;
  readonly log: Log;
}): Promise<OperatorServer> {
  const { boundPath, ports, log } = options;
  const closing = new AbortController();
  const server = createServer({ requestTimeout: arrivalMs }, (request, response) => {
    void answer(request, response, ports, log, closing.signal);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(boundPath, resolve);
  });
  return { close: () => close(server, closing) };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  ports: OperatorPorts,
  log: Log,
  closing: AbortSignal,
): Promise<void> {
  const left = new AbortController();
  response.once('close', () => left.abort(new StorageError('cancelled', 'the caller went away')));
  const asked = `${request.method ?? ''} ${request.url ?? ''}`;
  try {
    const route = routeOf(request);
    const body = await readBody(request);
    const answered = await route(ports, body, AbortSignal.any([closing, left.signal]));
    send(response, 200, answered);
  } catch (error) {
    const { status, refusal } = refusalOf(error, closing, request.method === 'GET');
    log[status === 500 ? 'error' : 'info']({ asked, status, err: messageOf(error) }, 'refused an operator');
    send(response, status, refusal);
  }
}

function routeOf(request: IncomingMessage): Route {
  const { method = '', url = '' } = request;
  const route = Object.hasOwn(routes, `${method} ${url}`) ? routes[`${method} ${url}`] : undefined;
  if (route !== undefined) return route;
  const known = Object.keys(routes).join(', ');
  throw new HttpRefusal(404, { code: 'NOT_FOUND', message: `there is no such route; there are ${known}` });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > longestBodyBytes) {
      const message = `the body is longer than ${longestBodyBytes} bytes`;
      throw new HttpRefusal(413, { code: 'INVALID_ARGUMENT', message });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function refusalOf(
  error: unknown,
  closing: AbortSignal,
  changesNothing: boolean,
): { status: number; refusal: Refusal } {
  if (error instanceof HttpRefusal) return error;
  const code = statusCodeOf(error);
  if (code !== undefined)
    return { status: httpStatuses[code] ?? 500, refusal: { code, message: messageOf(error) } };
  if (closing.aborted) {
    const then = changesNothing ? 'repeat the command once it runs again' : mayBeDone;
    const message = `the process is being stopped; ${then}`;
    return { status: 503, refusal: { code: changesNothing ? 'UNAVAILABLE' : 'UNKNOWN', message } };
  }
  return { status: 500, refusal: { code: 'INTERNAL', message: messageOf(error) } };
}

function send(response: ServerResponse, status: number, value: unknown): void {
  if (response.destroyed) return;
  // one answer a connection: who refuses a body need not read the rest of it
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', connection: 'close' })
    .end(`${JSON.stringify(value)}\n`);
}

class HttpRefusal extends Error {
  override name = 'HttpRefusal';
  readonly status: number;
  readonly refusal: Refusal;

  constructor(status: number, refusal: Refusal) {
    super(refusal.message);
    this.status = status;
    this.refusal = refusal;
  }
}

async function close(server: Server, closing: AbortController): Promise<void> {
  closing.abort(new Error('the operator socket is being closed'));
  // a request that never wholly arrives is not waited for, nor work that does not heed its signal
  const force = setTimeout(() => server.closeAllConnections(), drainMs);
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
  clearTimeout(force);
}
