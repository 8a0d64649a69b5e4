import { request } from 'node:http';
import { messageOf } from '../model/errors.ts';
import {
  type Adoption,
  type AdoptionRequest,
  type Forgetting,
  type GcPlan,
  mayBeDone,
  type Refusal,
  type Removal,
  type VolumeReport,
} from './report.ts';

/** Destroying waits for the bytes; a scrub has no bound, and its caller does not wait for all of it. */
const answerMs = 120_000;

/** The node's process said no, could not be asked, or (UNKNOWN) did not say what it did; the message is for people as it is. */
export class OperatorRefusal extends Error {
  override name = 'OperatorRefusal';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The node's process, asked over its socket. @throws OperatorRefusal */
export class OperatorClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  volumes(): Promise<VolumeReport> {
    return this.#ask('GET', '/volumes');
  }

  plan(): Promise<GcPlan> {
    return this.#ask('GET', '/gc');
  }

  remove(volumeId: string): Promise<Removal> {
    return this.#ask('POST', '/gc/remove', { volumeId });
  }

  removeArchived(archiveId: string): Promise<Removal> {
    return this.#ask('POST', '/gc/remove-archived', { archiveId });
  }

  forget(volumeId: string): Promise<Forgetting> {
    return this.#ask('POST', '/gc/forget', { volumeId });
  }

  adopt(adoption: AdoptionRequest): Promise<Adoption> {
    return this.#ask('POST', '/adopt', adoption);
  }

  /** The server is of this version or near it: its word is taken for the shape of its answers. */
  async #ask<T>(method: string, path: string, body?: object): Promise<T> {
    const { status, text } = await this.#send(method, path, body).catch((error: unknown) => {
      throw this.#unreachable(error, method === 'GET');
    });
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new OperatorRefusal(
        'INTERNAL',
        `${this.#socketPath} answered ${status} with no JSON; is it Loam's?`,
      );
    }
    if (status === 200) return value as T;
    const { code = 'INTERNAL', message = `status ${status}` } = value as Partial<Refusal>;
    throw new OperatorRefusal(code, message);
  }

  #send(method: string, path: string, body: object | undefined): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(answerMs);
      const headers = { 'content-type': 'application/json' };
      const asking = request({ socketPath: this.#socketPath, method, path, headers, signal }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      });
      asking.once('error', reject);
      asking.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #unreachable(error: unknown, changesNothing: boolean): OperatorRefusal {
    const code = (error as NodeJS.ErrnoException).code;
    const where = `the node's process at ${this.#socketPath}`;
    const never = (why: string): OperatorRefusal => new OperatorRefusal('UNAVAILABLE', `${where} ${why}`);
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return never(
        `does not listen (${code}); run this where loam node runs (kubectl exec, or kubectl loam), or name its --run-dir`,
      );
    if (code === 'EACCES') return never('may not be opened by you; run this as root');
    const silent = `did not answer: ${messageOf(error)}`;
    if (changesNothing) return never(silent);
    return new OperatorRefusal('UNKNOWN', `${where} ${silent}; ${mayBeDone}`);
  }
}
