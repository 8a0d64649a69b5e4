import { createHash } from 'node:crypto';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { ApiUnreachable } from './api-error.ts';
import type { Credentials, KubeAccess, TlsIdentity } from './access.ts';

/** Read again this often, as client-go does with token files. */
const credentialsLastMs = 60_000;
/** kube-apiserver closes idle connections after 90 s; we go first, so that a write never meets a connection that is just closing. */
const idleConnectionMs = 55_000;
const requestConnections = 4;

export interface Connection {
  readonly headers: Readonly<Record<string, string>>;
  /** for requests that end: few connections, shared, kept alive */
  readonly requests: Dispatcher;
  /** for watches, each of which holds a connection for its life */
  readonly watches: Dispatcher;
}

/** The sockets to one API server and the credentials that go over them. A rotated certificate gets new sockets. */
export class Connections {
  readonly #access: KubeAccess;
  readonly #nowMs: () => number;
  #credentials: { readonly value: Promise<Credentials>; readonly readAtMs: number } | undefined;
  #isClosed = false;
  #pool:
    { readonly identity: string; readonly requests: Dispatcher; readonly watches: Dispatcher } | undefined;

  constructor(access: KubeAccess, nowMs: () => number) {
    this.#access = access;
    this.#nowMs = nowMs;
  }

  /** `rejected`: the headers that the server answered with 401; others may have been replaced meanwhile and are tried as they are. */
  async open(rejected?: Connection['headers']): Promise<Connection> {
    let { headers, tls } = await this.#current(false);
    if (rejected === headers) ({ headers, tls } = await this.#current(true));
    if (this.#isClosed) throw new ApiUnreachable('the connection to the API server is closed');
    const identity = identityOf(tls);
    if (this.#pool?.identity !== identity) {
      const old = this.#pool;
      this.#pool = { identity, requests: this.#agent(tls, 'requests'), watches: this.#agent(tls, 'watches') };
      // requests under way may end; nobody waits for that
      void old?.requests.close();
      void old?.watches.close();
    }
    return { headers, requests: this.#pool.requests, watches: this.#pool.watches };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const pool = this.#pool;
    this.#pool = undefined;
    await Promise.all([pool?.requests.destroy(), pool?.watches.destroy()]);
  }

  #current(fresh: boolean): Promise<Credentials> {
    const nowMs = this.#nowMs();
    if (!fresh && this.#credentials !== undefined && nowMs - this.#credentials.readAtMs < credentialsLastMs) {
      return this.#credentials.value;
    }
    const value = this.#access.credentials({ fresh });
    const entry = { value, readAtMs: nowMs };
    this.#credentials = entry;
    value.catch(() => {
      if (this.#credentials === entry) this.#credentials = undefined;
    });
    return value;
  }

  #agent(tls: TlsIdentity, purpose: 'requests' | 'watches'): Dispatcher {
    const connect = { ...tls, keepAlive: true, keepAliveInitialDelay: 30_000, timeout: 10_000 };
    const options = {
      // HTTP/2 was measured slower here, and one broken connection would take every watch with it
      allowH2: false,
      pipelining: 1,
      keepAliveTimeout: idleConnectionMs,
      keepAliveMaxTimeout: idleConnectionMs,
      // requests carry their own deadline; watches are quiet for as long as nothing happens
      headersTimeout: 0,
      bodyTimeout: 0,
      ...(purpose === 'requests' && { connections: requestConnections }),
    };
    const { proxyUrl } = this.#access;
    return proxyUrl === undefined
      ? new Agent({ ...options, connect })
      : new ProxyAgent({ ...options, uri: proxyUrl, requestTls: tls });
  }
}

function identityOf(tls: TlsIdentity): string {
  const hash = createHash('sha256');
  for (const part of [tls.ca, tls.cert, tls.key, tls.servername, String(tls.rejectUnauthorized)]) {
    hash.update(part ?? '').update('\0');
  }
  return hash.digest('hex');
}
