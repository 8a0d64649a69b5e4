import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { messageOf } from '../model/errors.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { answerRequest, answerText, type Answer } from './answer-request.ts';
import { ApiFailure, pathNotFound } from './api-failure.ts';
import { discover } from './discovery.ts';
import type { Faults } from './faults.ts';
import { Lists } from './lists.ts';
import type { ObjectStorage } from './object-storage.ts';
import { contentTypeOf, parseRequest, readBody, type ResourceRequest } from './request.ts';
import type { StoredObject } from './stored-object.ts';
import { tableOf, type IncludeObject } from './table.ts';
import type { Watches } from './watches.ts';

/** The API over http on the loopback address. Serves whoever can connect: it is for one machine and for tests. */
export class EmbeddedServer {
  readonly #storage: ObjectStorage;
  readonly #watches: Watches;
  readonly #faults: () => Faults;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #lists: Lists;
  #server: Server | undefined;
  #port: number;

  constructor(options: {
    storage: ObjectStorage;
    watches: Watches;
    faults: () => Faults;
    clock: Clock;
    log: Log;
    port: number;
  }) {
    this.#storage = options.storage;
    this.#watches = options.watches;
    this.#faults = options.faults;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#port = options.port;
    this.#lists = new Lists(options.storage);
  }

  /** Port 0 becomes a free port at the first call and stays that one. */
  async listen(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        this.#log.error({ error: messageOf(error) }, 'embedded API: request failed');
        response.destroy();
      });
    });
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    this.#watches.drop();
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Also drops page tokens: they are older than what is remembered now. */
  compactHistory(): void {
    this.#storage.history.compact();
    this.#lists.forget();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      if (response.headersSent) return void response.destroy();
      const failure =
        error instanceof ApiFailure ? error : new ApiFailure(500, 'InternalError', messageOf(error));
      if (failure.body.code === 500)
        this.#log.warn({ path: request.url, error: failure.message }, 'embedded API: answered 500');
      const { retryAfterSeconds } = failure.body.details ?? {};
      if (retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(retryAfterSeconds));
      sendJson(response, failure.body.code, JSON.stringify(failure.body));
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (['/healthz', '/readyz', '/livez'].includes(url.pathname)) return void response.end('ok');
    const found = request.method === 'GET' ? discover(url.pathname) : undefined;
    if (found !== undefined) return sendJson(response, 200, JSON.stringify(found));
    const asked = parseRequest(request.method ?? 'GET', url);
    if (asked === undefined) throw pathNotFound();
    const body = await readBody(request);
    const target = { verb: asked.verb, kind: asked.resource.kind, subresource: asked.subresource };
    const delayMs = this.#faults().delayMsOf(target);
    if (delayMs > 0) await this.#clock.sleep(delayMs);
    const fault = this.#faults().next(target);
    if (fault instanceof ApiFailure) throw fault;
    const table = tableWish(request, asked);
    if (asked.verb === 'watch') return this.#watch(asked, response, table);
    const answer = answerRequest(
      { storage: this.#storage, lists: this.#lists },
      asked,
      body,
      contentTypeOf(request),
    );
    if (fault === 'lose-answer') return void response.destroy();
    const status = answer.kind === 'object' ? answer.status : 200;
    sendJson(
      response,
      status,
      table === undefined ? answerText(answer, asked) : this.#tableText(answer, asked, table),
    );
  }

  #watch(asked: ResourceRequest, response: ServerResponse, table: IncludeObject | undefined): void {
    let isFirst = true;
    const asTable = (object: StoredObject): string => {
      const listMeta = { resourceVersion: object.metadata.resourceVersion };
      const options = {
        nowMs: this.#clock.nowMs(),
        include: table ?? 'Metadata',
        listMeta,
        withColumns: isFirst,
      };
      isFirst = false;
      return JSON.stringify(tableOf(asked.resource, [object], options));
    };
    const sink = {
      write: (line: string) => void response.write(line),
      end: () => void response.end(),
      abort: () => void response.destroy(),
    };
    response.setHeader('Content-Type', 'application/json');
    response.once('close', this.#watches.start(asked, sink, table === undefined ? undefined : asTable));
    response.flushHeaders();
  }

  #tableText(answer: Answer, asked: ResourceRequest, include: IncludeObject): string {
    if (answer.kind === 'status') return answerText(answer, asked);
    const objects = answer.kind === 'object' ? [answer.object] : answer.items;
    const listMeta =
      answer.kind === 'object'
        ? { resourceVersion: answer.object.metadata.resourceVersion }
        : answer.metadata;
    return JSON.stringify(
      tableOf(asked.resource, objects, { nowMs: this.#clock.nowMs(), include, listMeta }),
    );
  }
}

/** What `kubectl get` asks for by `Accept: application/json;as=Table;v=v1;g=meta.k8s.io`; undefined: the objects themselves. */
function tableWish(request: IncomingMessage, asked: ResourceRequest): IncludeObject | undefined {
  const first = (request.headers.accept ?? '').split(',')[0] ?? '';
  if (!first.includes('as=Table') || request.method !== 'GET') return undefined;
  const include = asked.query.get('includeObject');
  return include === 'None' || include === 'Object' ? include : 'Metadata';
}

function sendJson(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}
