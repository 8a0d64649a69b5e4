import {
  createServer,
  type IncomingMessage,
  request as httpRequest,
  type Server,
  type ServerResponse,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ControlPlane } from './control-plane.ts';

export interface RequestMatch {
  readonly method?: string;
  /** of path and query */
  readonly path?: RegExp;
}

interface Plan {
  readonly match: RequestMatch;
  left: number;
  readonly how:
    | {
        readonly kind: 'answer';
        readonly status: number;
        readonly reason: string;
        readonly retryAfterSeconds?: number;
      }
    | { readonly kind: 'lose-answer' };
}

const reasons: Readonly<Record<number, string>> = {
  409: 'Conflict',
  410: 'Expired',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
};

/** Plain http before an API server, which fails on demand as API servers and networks do. The same for every control plane. */
export class ApiFaultProxy implements AsyncDisposable {
  readonly url: string;
  readonly #server: Server;
  /** with the path that each is of */
  readonly #watches: Map<ServerResponse, string>;
  readonly #plans: Plan[];
  /** how often a planned fault was met */
  readonly #met: { count: number };

  private constructor(
    server: Server,
    watches: Map<ServerResponse, string>,
    plans: Plan[],
    met: { count: number },
  ) {
    this.#server = server;
    this.#watches = watches;
    this.#plans = plans;
    this.#met = met;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(plane: ControlPlane): Promise<ApiFaultProxy> {
    const watches = new Map<ServerResponse, string>();
    const plans: Plan[] = [];
    const met = { count: 0 };
    const server = createServer((asked, answer) => {
      const plan = plans.find(({ match, left }) => left > 0 && matches(match, asked));
      if (plan !== undefined) {
        plan.left -= 1;
        met.count += 1;
      }
      if (plan?.how.kind === 'answer') return refuse(answer, asked, plan.how);
      if (asked.url?.includes('watch=true') === true) {
        watches.set(answer, asked.url);
        answer.once('close', () => watches.delete(answer));
      }
      forward(plane, asked, answer, plan !== undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new ApiFaultProxy(server, watches, plans, met);
  }

  get faultsMet(): number {
    return this.#met.count;
  }

  /** The next matching requests never reach the API server. */
  answerNext(status: number, match: RequestMatch, count = 1, retryAfterSeconds?: number): void {
    const how = { kind: 'answer', status, reason: reasons[status] ?? 'Unknown' } as const;
    this.#plans.push({
      match,
      left: count,
      how: retryAfterSeconds === undefined ? how : { ...how, retryAfterSeconds },
    });
  }

  /** The next matching requests take effect; the connection breaks before their answers. */
  loseAnswers(match: RequestMatch, count = 1): void {
    this.#plans.push({ match, left: count, how: { kind: 'lose-answer' } });
  }

  /** Whether a watch of each of these resources is open, in the plural of their paths. */
  watches(...resources: readonly string[]): boolean {
    const paths = [...this.#watches.values()];
    return resources.every((resource) => paths.some((path) => path.includes(`/${resource}?`)));
  }

  /** As a load balancer does that restarts. */
  breakWatches(): void {
    for (const watch of this.#watches.keys()) watch.destroy();
    this.#watches.clear();
  }

  clear(): void {
    this.#plans.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

function matches({ method, path }: RequestMatch, asked: IncomingMessage): boolean {
  return (
    (method === undefined || method === asked.method) && (path === undefined || path.test(asked.url ?? ''))
  );
}

function refuse(
  answer: ServerResponse,
  asked: IncomingMessage,
  { status, reason, retryAfterSeconds }: Plan['how'] & { kind: 'answer' },
): void {
  asked.resume();
  const message = `told to answer ${status}`;
  answer.writeHead(status, {
    'Content-Type': 'application/json',
    ...(retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) }),
  });
  answer.end(
    JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, reason, message }),
  );
}

function forward(
  plane: ControlPlane,
  asked: IncomingMessage,
  answer: ServerResponse,
  losesAnswer: boolean,
): void {
  const isTls = plane.url.startsWith('https:');
  const onward = (isTls ? httpsRequest : httpRequest)(
    plane.url + (asked.url ?? '/'),
    {
      method: asked.method ?? 'GET',
      headers: { ...asked.headers, ...plane.headers, host: new URL(plane.url).host },
      // only ever the test's own server on loopback
      ...(isTls ? { rejectUnauthorized: false } : {}),
    },
    (response) => {
      if (losesAnswer) {
        response.resume();
        response.once('end', () => answer.destroy());
        return;
      }
      answer.writeHead(response.statusCode ?? 502, response.headers);
      answer.flushHeaders();
      response.pipe(answer);
      response.once('error', () => answer.destroy());
    },
  );
  onward.once('error', () => answer.destroy());
  answer.once('close', () => onward.destroy());
  asked.pipe(onward);
}
