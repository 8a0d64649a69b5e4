import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}
type Answer = (request: SeenRequest, response: ServerResponse) => void;

/** An API server that says exactly what a test wants: each request is given to `answer`, whatever that is at the moment. */
export class ScriptedServer {
  readonly requests: SeenRequest[] = [];
  answer: Answer;
  connections = 0;
  readonly #server: Server;

  private constructor(answer: Answer) {
    this.answer = answer;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on('connection', () => {
      this.connections += 1;
    });
  }

  static async start(
    answer: Answer = (_, response) => response.writeHead(500).end(),
  ): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(answer);
    scripted.#server.listen(0, '127.0.0.1');
    await once(scripted.#server, 'listening');
    return scripted;
  }

  /** Different answers in this order; the last one again and again. */
  script(...answers: readonly Answer[]): void {
    let turn = 0;
    this.answer = (request, response) => {
      const answer = answers[Math.min(turn, answers.length - 1)];
      turn += 1;
      answer?.(request, response);
    };
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return `http://127.0.0.1:${address.port}`;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://server');
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: pathname,
      query: searchParams,
      headers: request.headers,
      body: await text(request),
    };
    this.requests.push(seen);
    this.answer(seen, response);
  }
}

/** An answer of JSON. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Answer {
  return (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
}

/** A failure in the API server's own form. */
export function failure(status: number, reason: string, headers: Record<string, string> = {}): Answer {
  const message = `the test answers ${reason}`;
  return json({ kind: 'Status', status: 'Failure', message, reason, code: status }, status, headers);
}

/** No answer at all: the connection breaks. */
export const hangUp: Answer = (_, response) => {
  response.destroy();
};
