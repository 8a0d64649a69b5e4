import type { Dispatcher } from 'undici';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Metrics } from '../model/metrics.ts';
import type { KubeAccess } from './access.ts';
import { ApiError, ApiUnreachable } from './api-error.ts';
import { errorOfAnswer } from './answer-error.ts';
import { type Connection, Connections } from './connections.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** with its query */
  readonly path: string;
  readonly body?: { readonly type: string; readonly text: string };
}

/** The cause of an ApiUnreachable whose whole time was used up: trying again would double the wait. */
export class RequestTimeout extends Error {
  override name = 'RequestTimeout';
}

interface TransportOptions {
  readonly access: KubeAccess;
  readonly userAgent: string;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly timeoutMs: number;
}

type Answer = Dispatcher.ResponseData;

/**
 * Requests to one API server, each tried once (twice where the first met a 401: with credentials read again).
 *
 * Every failure is an ApiError, an ApiUnreachable, or the reason of the caller's signal.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #connections: Connections;
  readonly #origin: string;
  readonly #prefix: string;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#connections = new Connections(options.access, () => options.clock.nowMs());
    const { origin, pathname } = new URL(options.access.server);
    this.#origin = origin;
    this.#prefix = pathname === '/' ? '' : pathname;
  }

  /** The answer's body, whole. */
  send(request: HttpRequest, signal: AbortSignal): Promise<unknown> {
    const { metrics, clock } = this.#options;
    const startMs = clock.nowMs();
    return this.#bounded(request, signal, async (bound) => {
      const { body } = await this.#answer(request, 'requests', bound);
      const parsed = await body.json();
      metrics.observeSeconds(
        'rest_client_request_duration_seconds',
        { verb: request.method },
        (clock.nowMs() - startMs) / 1000,
      );
      return parsed;
    });
  }

  /** An answer whose body goes on for as long as it likes; only its beginning has to come in time. */
  async *stream(request: HttpRequest, signal: AbortSignal, onOpen?: () => void): AsyncGenerator<Uint8Array> {
    const end = new AbortController();
    const forward = () => end.abort(signal.reason);
    signal.addEventListener('abort', forward, { once: true });
    try {
      const body = await this.#bounded(request, signal, async (bound) => {
        bound.addEventListener('abort', () => end.abort(bound.reason), { once: true });
        return (await this.#answer(request, 'watches', end.signal)).body;
      });
      onOpen?.();
      for await (const chunk of body) yield chunk as Uint8Array;
    } catch (error) {
      throw this.#failure(request, error, signal);
    } finally {
      signal.removeEventListener('abort', forward);
    }
  }

  close(): Promise<void> {
    return this.#connections.close();
  }

  /** Success answers only; the connection is opened, authenticated and, after a 401, authenticated anew. */
  async #answer(request: HttpRequest, over: 'requests' | 'watches', signal: AbortSignal): Promise<Answer> {
    const connection = await unlessAborted(this.#connections.open(), signal);
    let answer = await this.#dispatch(request, connection, over, signal);
    if (answer.statusCode === 401) {
      await answer.body.dump();
      const renewed = await unlessAborted(this.#connections.open(connection.headers), signal);
      answer = await this.#dispatch(request, renewed, over, signal);
    }
    if (answer.statusCode >= 300) {
      throw errorOfAnswer(answer.statusCode, answer.headers['retry-after'], await answer.body.text());
    }
    return answer;
  }

  async #dispatch(
    request: HttpRequest,
    connection: Connection,
    over: 'requests' | 'watches',
    signal: AbortSignal,
  ): Promise<Answer> {
    const { method, path, body } = request;
    let code = '<error>';
    try {
      const answer = await connection[over].request({
        origin: this.#origin,
        path: this.#prefix + path,
        method,
        signal,
        body: body?.text ?? null,
        // else undici closes the connection after every DELETE that has a body, as all of ours do
        reset: false,
        headers: {
          ...connection.headers,
          accept: 'application/json',
          'user-agent': this.#options.userAgent,
          ...(body !== undefined && { 'content-type': body.type }),
        },
      });
      code = String(answer.statusCode);
      return answer;
    } finally {
      this.#options.metrics.count('rest_client_requests_total', { method, code });
    }
  }

  /** Runs `work` under the caller's signal and the request's own time limit. */
  async #bounded<T>(
    request: HttpRequest,
    signal: AbortSignal,
    work: (bound: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    const { timeoutMs, clock } = this.#options;
    // not AbortSignal.any and .timeout: they cost more than all the rest of this function and linger until collected
    const bound = new AbortController();
    const onAbort = () => bound.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const cancel = clock.after(timeoutMs, () =>
      bound.abort(new RequestTimeout(`no answer within ${timeoutMs / 1000} s`)),
    );
    try {
      return await work(bound.signal);
    } catch (error) {
      throw this.#failure(request, bound.signal.aborted ? bound.signal.reason : error, signal);
    } finally {
      cancel();
      signal.removeEventListener('abort', onAbort);
    }
  }

  #failure(request: HttpRequest, error: unknown, signal: AbortSignal): Error {
    if (signal.aborted) return signal.reason as Error;
    if (error instanceof ApiError || error instanceof ApiUnreachable) return error;
    const what = `${request.method} ${this.#origin}${this.#prefix}${request.path.replace(/\?.*/, '')}`;
    return new ApiUnreachable(`${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** An exec plugin that hangs must not outlive the request that asked for it. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
