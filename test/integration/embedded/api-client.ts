import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** Plain requests to an API server, with nothing between the test and the wire. */
export class ApiClient {
  readonly #url: string;
  readonly #token: string | undefined;

  constructor(url: string, token?: string) {
    this.#url = url;
    this.#token = token;
  }

  ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const send = this.#url.startsWith('https:') ? httpsRequest : httpRequest;
      const request = send(
        this.#url + path,
        {
          method,
          // only ever the test's own server on loopback
          ...(this.#url.startsWith('https:') ? { rejectUnauthorized: false } : {}),
          agent: false,
          headers: {
            Accept: 'application/json',
            'Content-Type': 'application/json',
            // a DELETE's body would go without it, and be taken for the next request
            ...(text === '' ? {} : { 'Content-Length': String(Buffer.byteLength(text)) }),
            ...(this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` }),
            ...headers,
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.once('error', reject);
          response.once('end', () => {
            const text = Buffer.concat(chunks).toString();
            resolve({ status: response.statusCode ?? 0, body: bodyOf(text) });
          });
        },
      );
      request.once('error', reject);
      request.end(text);
    });
  }
}

/** A watch's lines come as a list of events. */
function bodyOf(text: string): Record<string, unknown> {
  const lines = text.split('\n').filter((line) => line !== '');
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return { events: lines.map((line) => (line.startsWith('{') ? (JSON.parse(line) as unknown) : line)) };
  }
}
