import { subscribe } from 'node:diagnostics_channel';
import type { Steps } from './steps.ts';

interface Told {
  readonly request: { readonly method: string; readonly path: string };
}

/** Watches the requests that change something in the API, by what undici tells of them. */
export function watchRequests(steps: Steps): void {
  const numbers = new WeakMap<object, number>();
  const on = (name: string, hear: (request: Told['request'], step: number | undefined) => void): void =>
    subscribe(`undici:request:${name}`, (message) => {
      const { request } = message as Told;
      hear(request, numbers.get(request));
    });
  on('create', (request) => {
    const { method, path } = request;
    if (method !== 'GET') numbers.set(request, steps.begin(`request ${method} ${path.replace(/\?.*/, '')}`));
  });
  on('bodySent', (_, step) => step !== undefined && steps.underWay(step));
  on('headers', (_, step) => step !== undefined && steps.end(step));
}
