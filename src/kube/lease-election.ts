import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { isAlreadyExists, isConflict, isNotFound } from './api-error.ts';
import { pause } from './back-off.ts';
import type { KubeApi } from './kube-api.ts';
import { decideLease } from './lease-decision.ts';
import { LeaseTerm } from './lease-term.ts';
import { lookUp } from './look-up.ts';
import type { Lease } from './objects.ts';

/** kube-controller-manager's, which every operator knows. */
const leaseTiming = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 } as const;
/** One try may not use up the deadline: a connection may hang that the next try does not use. */
const tryMs = 4_000;

export interface LeaseElectionOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly name: string;
  /** one process at a time has it */
  readonly identity: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** 0 to below 1 */
  readonly random?: () => number;
}

/**
 * Leadership by a coordination.k8s.io/v1 Lease: of all processes with the same Lease, one works at a time.
 *
 * Who cannot renew for 10 s stops working, 5 s before anybody else may begin. Then it is a candidate again, in the same process: what a
 * term knew is thrown away with it, so a restart would not make anything cleaner. A write that is under way when a term ends may still
 * take effect: what is written in a term needs preconditions.
 */
export class LeaseElection {
  readonly #options: LeaseElectionOptions;
  readonly #log: Log;
  /** of the Lease as we know it; precondition of every write */
  #lease: Lease | undefined;
  #watched: { readonly record: string; readonly cancel: () => void } | undefined;
  /** the record that stayed as it was for a whole lease */
  #unchanged: string | undefined;
  #holder: string | undefined;
  #problem: string | undefined;
  #isLeader = false;

  constructor(options: LeaseElectionOptions) {
    this.#options = options;
    this.#log = options.log.child({ lease: `${options.namespace}/${options.name}` });
    this.#lead(false);
  }

  isLeader(): boolean {
    return this.#isLeader;
  }

  /** Who held the Lease when it was last seen. */
  holder(): string | undefined {
    return this.#holder;
  }

  /** Why the Lease could not be read or written the last time; undefined: it could. */
  problem(): string | undefined {
    return this.#problem;
  }

  /**
   * Has `work` run for as long as the Lease is ours, from the beginning in each term, until the signal aborts. Each term's signal
   * aborts with the term, and nothing else happens before `work` has ended: so it has to end soon. Releases the Lease at the end.
   */
  async run(work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const term = await this.#acquire(signal);
      if (term !== undefined) await this.#serve(term, work, signal);
    }
    this.#watched?.cancel();
  }

  async #acquire(signal: AbortSignal): Promise<LeaseTerm | undefined> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const term = new LeaseTerm(clock, leaseTiming.renewDeadlineMs);
      if (await this.#try((cut) => this.#take(cut), signal)) return term;
      term.end('the Lease is not ours');
      await this.#rest(signal);
    }
    return undefined;
  }

  async #serve(
    term: LeaseTerm,
    work: (signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const onAbort = (): void => term.end('the process ends');
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    this.#lead(true);
    this.#log.info({ identity: this.#options.identity }, 'leading');
    const working = this.#work(work, term);
    await this.#keep(term);
    await working;
    this.#lead(false);
    signal.removeEventListener('abort', onAbort);
    this.#log.info({ reason: messageOf(term.signal.reason) }, 'not leading any more');
    await this.#release();
    if (!signal.aborted) await this.#rest(signal);
  }

  /** Never rejects. Ends the term when it ends: who leads has to work. */
  async #work(work: (signal: AbortSignal) => Promise<void>, term: LeaseTerm): Promise<void> {
    try {
      await work(term.signal);
      if (!term.signal.aborted) term.end('the work has ended');
    } catch (error) {
      if (!term.signal.aborted) this.#log.error({ err: error }, 'what the leader does has failed');
      term.end('the work has failed');
    }
  }

  /** Renews until the term is over. */
  async #keep(term: LeaseTerm): Promise<void> {
    for (;;) {
      await this.#rest(term.signal);
      if (term.signal.aborted) return;
      const settle = term.renewal();
      const isOurs = await this.#try((cut) => this.#renew(term, cut), term.signal);
      settle(isOurs);
    }
  }

  /** @returns whether the Lease is ours now */
  async #take(signal: AbortSignal): Promise<boolean> {
    const { identity, namespace, name, api } = this.#options;
    const found = await this.#read(signal);
    if (found === undefined) {
      const metadata = { namespace, name };
      this.#know(await api.create('Lease', { metadata, spec: this.#newSpec(undefined) }, signal));
      return true;
    }
    const decision = decideLease(found, identity, leaseTiming.leaseMs, this.#unchanged);
    if (decision.kind === 'wait') {
      this.#watch(decision.record, decision.leaseMs);
      return false;
    }
    this.#log.debug({ why: decision.why }, 'taking the Lease');
    await this.#write(this.#newSpec(found), signal);
    return true;
  }

  async #renew(term: LeaseTerm, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#write({ renewTime: this.#now() }, signal);
      return true;
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
    // somebody wrote to it; or we did, and the answer was lost
    const found = await this.#read(signal);
    if (found?.spec?.holderIdentity === this.#options.identity) {
      await this.#write({ renewTime: this.#now() }, signal);
      return true;
    }
    if (found !== undefined) {
      term.end(`${this.#holder ?? 'nobody'} holds the Lease now`);
      return false;
    }
    const { namespace, name, api } = this.#options;
    const spec = this.#newSpec(undefined);
    this.#know(await api.create('Lease', { metadata: { namespace, name }, spec }, signal));
    return true;
  }

  /** So that the next one need not wait. Best effort: without it the Lease runs out. */
  async #release(): Promise<void> {
    if (this.#holder !== this.#options.identity) return;
    const spec = { holderIdentity: null, leaseDurationSeconds: 1, renewTime: this.#now() };
    const cut = new AbortController();
    const cancel = this.#options.clock.after(tryMs, () => cut.abort(new Error('no answer in time')));
    try {
      await this.#write(spec, cut.signal);
      this.#log.info({}, 'released the Lease');
    } catch (error) {
      if (!isConflict(error))
        this.#log.warn({ err: messageOf(error) }, 'the Lease was not released; it runs out by itself');
    } finally {
      cancel();
      this.#holder = undefined;
    }
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    const { api, namespace, name } = this.#options;
    const found = await lookUp(api, 'Lease', { namespace, name }, signal);
    if (found !== undefined) this.#know(found);
    return found;
  }

  async #write(spec: object, signal: AbortSignal): Promise<void> {
    const { api, namespace, name } = this.#options;
    const body = { metadata: { resourceVersion: this.#lease?.metadata.resourceVersion }, spec };
    this.#know(await api.patch('Lease', { namespace, name }, { type: 'merge', body }, signal));
  }

  #know(lease: Lease): void {
    this.#lease = lease;
    const holder = lease.spec?.holderIdentity ?? '';
    if (holder === (this.#holder ?? '')) return;
    this.#holder = holder === '' ? undefined : holder;
    if (holder !== '' && holder !== this.#options.identity) this.#log.info({ holder }, 'another one leads');
  }

  /** Counts from now how long this record stays as it is, unless that is being counted already. */
  #watch(record: string, leaseMs: number): void {
    if (this.#watched?.record === record) return;
    this.#watched?.cancel();
    this.#unchanged = undefined;
    const cancel = this.#options.clock.after(leaseMs, () => {
      this.#unchanged = record;
    });
    this.#watched = { record, cancel };
  }

  #newSpec(previous: Lease | undefined): NonNullable<Lease['spec']> {
    const { identity } = this.#options;
    const { leaseTransitions = 0, holderIdentity } = previous?.spec ?? {};
    const now = this.#now();
    return {
      holderIdentity: identity,
      leaseDurationSeconds: leaseTiming.leaseMs / 1000,
      acquireTime: now,
      renewTime: now,
      leaseTransitions:
        previous === undefined || holderIdentity === identity ? leaseTransitions : leaseTransitions + 1,
    };
  }

  /** One bounded try. False, and what was wrong remembered, where it failed. */
  async #try(attempt: (signal: AbortSignal) => Promise<boolean>, signal: AbortSignal): Promise<boolean> {
    const cut = new AbortController();
    const onAbort = (): void => cut.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const cancel = this.#options.clock.after(tryMs, () => cut.abort(new Error('no answer in time')));
    try {
      const isOurs = await attempt(cut.signal);
      this.#problem = undefined;
      return isOurs;
    } catch (error) {
      // lost a race: the next look says to whom
      if (!signal.aborted && !isConflict(error) && !isAlreadyExists(error)) this.#failed(error);
      return false;
    } finally {
      cancel();
      signal.removeEventListener('abort', onAbort);
    }
  }

  #failed(error: unknown): void {
    const problem = messageOf(error);
    if (this.#problem !== problem)
      this.#log.warn({ err: problem }, 'the Lease cannot be read or written; trying again');
    this.#problem = problem;
  }

  #rest(signal: AbortSignal): Promise<void> {
    const random = this.#options.random ?? Math.random;
    return pause(this.#options.clock, leaseTiming.retryMs * (1 + random() / 5), signal);
  }

  #lead(isLeader: boolean): void {
    this.#isLeader = isLeader;
    this.#options.metrics.gauge('loam_controller_is_leader', {}, isLeader ? 1 : 0);
  }

  /** MicroTime: exactly six digits after the point. */
  #now(): string {
    return new Date(this.#options.clock.nowMs()).toISOString().replace('Z', '000Z');
  }
}
