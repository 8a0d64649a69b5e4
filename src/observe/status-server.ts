import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One thing that has to hold, asked anew at each request. `undefined` = it holds; a text says what is wrong and since when. */
export interface Check {
  readonly name: string;
  /** a live check failing means that a restart is the cure; a ready one that work has to wait */
  readonly kind: 'live' | 'ready';
  readonly problem: () => string | undefined | Promise<string | undefined>;
  /** what is amiss though the check holds: told, and no reason to keep work away */
  readonly degraded?: () => string | undefined;
}

export interface StatusServer {
  readonly address: string;
  close(): Promise<void>;
}

/**
 * Serves `/metrics`, `/healthz` and `/readyz`, and nothing else.
 *
 * `/healthz` runs the live checks, `/readyz` all of them; each is a line, `[-]` where it fails and `[!]` where it holds
 * only just, so that `kubectl describe pod` shows what is wrong. No volume, claim or path of a request is ever read here.
 *
 * @param listenOn `host:port`; port 0 picks one
 */
export async function startStatusServer(
  listenOn: string,
  checks: readonly Check[],
  exposeMetrics: () => string,
): Promise<StatusServer> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8') => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    };
    const path = request.url?.split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'only GET\n');
    else if (path === '/metrics') answer(200, exposeMetrics(), 'text/plain; version=0.0.4; charset=utf-8');
    else if (path === '/healthz' || path === '/readyz') {
      const asked = checks.filter((check) => path === '/readyz' || check.kind === 'live');
      void report(asked).then(({ status, body }) => answer(status, body));
    } else answer(404, 'try /metrics, /healthz or /readyz\n');
  });
  const [host, port] = splitAddress(listenOn);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen({ port, ...(host !== '' && { host }) }, resolve);
  });
  const { address, port: bound } = server.address() as AddressInfo;
  return {
    address: `${address.includes(':') ? `[${address}]` : address}:${bound}`,
    close: () => closeServer(server),
  };
}

async function report(checks: readonly Check[]): Promise<{ status: number; body: string }> {
  const lines = await Promise.all(
    checks.map(async ({ name, problem, degraded }) => {
      const found = await Promise.resolve()
        .then(problem)
        .catch((error: unknown) => String(error));
      if (found !== undefined) return { isWell: false, line: `[-] ${name}: ${found}` };
      const amiss = degraded?.();
      return {
        isWell: true,
        line: amiss === undefined ? `[+] ${name}: ok` : `[!] ${name}: degraded: ${amiss}`,
      };
    }),
  );
  const status = lines.every(({ isWell }) => isWell) ? 200 : 503;
  return { status, body: `${lines.map(({ line }) => line).join('\n')}\n` };
}

/** `127.0.0.1:9810`, `[::1]:9810`, `:9810` (host '': all addresses of both kinds, as far as the kernel has them). */
function splitAddress(text: string): [host: string, port: number] {
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon).replace(/^\[|\]$/g, '');
  return [host, Number(text.slice(colon + 1))];
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}
