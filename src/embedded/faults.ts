import type { KindName } from '../kube/kinds.ts';
import { ApiFailure } from './api-failure.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

/** Which requests a fault meets; unset: all. */
export interface FaultMatch {
  readonly verb?: Verb;
  readonly kind?: KindName;
  readonly subresource?: 'status';
}

export interface AskedFor {
  readonly verb: Verb;
  readonly kind: KindName;
  readonly subresource?: string | undefined;
}

interface Planned {
  readonly match: FaultMatch;
  left: number;
  readonly failure: ApiFailure | 'lose-answer';
}

const refusals = {
  409: ['Conflict', 'told to conflict: the object has been modified'],
  410: ['Expired', 'told to expire: too old resource version'],
  429: ['TooManyRequests', 'told to be busy: please try again later'],
  500: ['InternalError', 'told to fail: internal error'],
  503: ['ServiceUnavailable', 'told to be away: the server is currently unable to handle the request'],
} as const;

/** What the server does when it is told; `start.ts` connects it. */
export interface FaultTargets {
  readonly dropWatches: (kind: KindName | undefined) => number;
  readonly flushWatches: () => void;
  readonly compactHistory: () => void;
  readonly setListening: (listening: boolean) => Promise<void>;
}

/** Switches that make the control plane misbehave as real ones do. All off at the start; for tests. */
export class Faults {
  readonly #targets: FaultTargets;
  #planned: Planned[] = [];
  #slow: { readonly match: FaultMatch; readonly delayMs: number }[] = [];
  #areWatchesStalled = false;

  constructor(targets: FaultTargets) {
    this.#targets = targets;
  }

  /** Ends the open watches as a broken connection does. @returns how many there were */
  dropWatches(kind?: KindName): number {
    return this.#targets.dropWatches(kind);
  }

  /** Watches stay open and say nothing, until told otherwise; what happened meanwhile is sent then. */
  stallWatches(areStalled: boolean): void {
    this.#areWatchesStalled = areStalled;
    if (!areStalled) this.#targets.flushWatches();
  }

  /** Refuses the next matching requests; nothing of them takes effect. */
  answerNext(
    status: keyof typeof refusals,
    match: FaultMatch = {},
    count = 1,
    retryAfterSeconds?: number,
  ): void {
    const [reason, message] = refusals[status];
    const details = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
    this.#planned.push({ match, left: count, failure: new ApiFailure(status, reason, message, details) });
  }

  /** The next matching requests take effect, and the connection breaks before the answer. */
  loseAnswers(match: FaultMatch, count = 1): void {
    this.#planned.push({ match, left: count, failure: 'lose-answer' });
  }

  /** Every matching request waits so long first. @returns what ends it */
  slowDown(delayMs: number, match: FaultMatch = {}): () => void {
    const slow = { match, delayMs };
    this.#slow.push(slow);
    return () => (this.#slow = this.#slow.filter((each) => each !== slow));
  }

  /** Closes the port and every connection; `accept` opens the same port again. */
  async refuseConnections(): Promise<void> {
    await this.#targets.setListening(false);
  }

  async acceptConnections(): Promise<void> {
    await this.#targets.setListening(true);
  }

  /** Forgets the past now: watches and page tokens from before are answered with 410. */
  compactHistory(): void {
    this.#targets.compactHistory();
  }

  /** Takes back everything that is planned, slow or stalled. */
  clear(): void {
    this.#planned = [];
    this.#slow = [];
    this.stallWatches(false);
  }

  get areWatchesStalled(): boolean {
    return this.#areWatchesStalled;
  }

  /** For the server: the fault that this request meets, used up by asking. */
  next(asked: AskedFor): ApiFailure | 'lose-answer' | undefined {
    const found = this.#planned.find((fault) => fault.left > 0 && matches(fault.match, asked));
    if (found === undefined) return undefined;
    found.left -= 1;
    return found.failure;
  }

  delayMsOf(asked: AskedFor): number {
    return this.#slow.reduce((total, slow) => (matches(slow.match, asked) ? total + slow.delayMs : total), 0);
  }
}

function matches(match: FaultMatch, asked: AskedFor): boolean {
  return (
    (match.verb === undefined || match.verb === asked.verb) &&
    (match.kind === undefined || match.kind === asked.kind) &&
    (match.subresource === undefined || match.subresource === asked.subresource)
  );
}
