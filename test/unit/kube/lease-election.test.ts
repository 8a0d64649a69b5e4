import { afterEach, describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { LeaseElection } from '../../../src/kube/lease-election.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const day = 86_400_000;

/** One process: its election, and what its work has lived through. */
class Candidate {
  readonly clock: ManualClock;
  readonly election: LeaseElection;
  readonly lived: string[] = [];
  readonly stop = new AbortController();
  readonly ended: Promise<void>;
  /** how long its work takes to put everything down */
  stopsWithinMs = 0;

  constructor(identity: string, api: KubeApi, clock: ManualClock) {
    this.clock = clock;
    this.election = new LeaseElection({
      api,
      namespace: 'loam',
      name: 'loam-controller',
      identity,
      clock,
      log: silentLog,
      metrics: noMetrics,
      random: () => 0,
    });
    this.ended = this.election.run((signal) => this.#work(signal), this.stop.signal);
  }

  get isWorking(): boolean {
    return this.lived.at(-1) === 'began';
  }

  #work(signal: AbortSignal): Promise<void> {
    this.lived.push('began');
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        this.lived.push('told to stop');
        this.clock.after(this.stopsWithinMs, () => {
          this.lived.push('stopped');
          resolve();
        });
      });
    });
  }
}

describe('leader election by a Lease', () => {
  const api = { current: new FakeKubeApi() };
  const candidates: Candidate[] = [];
  const join = (identity: string, clockOffsetMs = 0, through: KubeApi = api.current): Candidate => {
    const candidate = new Candidate(identity, through, new ManualClock(1_700_000_000_000 + clockOffsetMs));
    candidates.push(candidate);
    return candidate;
  };
  /** Time passes for all, in steps so small that nobody is far ahead. */
  const pass = async (byMs: number): Promise<void> => {
    for (let passedMs = 0; passedMs <= byMs; passedMs += 250) {
      for (const { clock } of candidates) await clock.advance(passedMs === byMs ? 0 : 250);
      expect(
        candidates.filter(({ lived }) => lived.at(-1) !== 'stopped' && lived.length > 0).length,
      ).toBeLessThan(2);
    }
  };
  const lease = () => api.current.peek('Lease', 'loam/loam-controller');

  afterEach(async () => {
    for (const { stop } of candidates) stop.abort(new Error('the test is over'));
    for (const { clock } of candidates) await clock.advance(20_000);
    await Promise.all(candidates.map(({ ended }) => ended));
    candidates.length = 0;
    api.current = new FakeKubeApi();
  });

  it('makes the Lease where there is none, and works at once', async () => {
    const a = join('a');
    await pass(0);
    expect(a.isWorking).toBe(true);
    expect(a.election.isLeader()).toBe(true);
    expect(lease()?.spec).toMatchObject({
      holderIdentity: 'a',
      leaseDurationSeconds: 15,
      leaseTransitions: 0,
    });
    // exactly six digits, or the API server refuses it
    expect(lease()?.spec?.renewTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  });

  it('lets one of two work for as long as that renews, whatever time the other thinks it is', async () => {
    const a = join('a');
    await pass(1_000);
    const future = join('future', day);
    const past = join('past', -day);
    await pass(120_000);
    expect([a, future, past].map(({ lived }) => lived)).toEqual([['began'], [], []]);
    expect(future.election.holder()).toBe('a');
  });

  it.each([day, 0, -day])(
    'gives the Lease of a holder that vanished to another after a lease, whose clock is %i ms off',
    async (offsetMs) => {
      const a = join('a');
      await pass(1_000);
      const b = join('b', offsetMs);
      await pass(3_000);
      // kill -9: nothing of it moves any more
      candidates.splice(candidates.indexOf(a), 1);
      await pass(12_000);
      expect(b.lived).toEqual([]);
      await pass(8_000);
      expect(b.isWorking).toBe(true);
      expect(lease()?.spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
    },
  );

  it('stops work before anybody else may begin, where renewing fails', async () => {
    const a = join('a');
    await pass(1_000);
    a.stopsWithinMs = 2_000;
    const b = join('b');
    await pass(4_000);
    api.current.fail('patch', 'Lease', new ApiUnreachable('no route'), { times: 1_000 });
    await pass(14_000);
    expect(a.lived).toEqual(['began', 'told to stop', 'stopped']);
    expect(b.lived).toEqual([]);
    expect(a.election.isLeader()).toBe(false);
    expect(b.election.isLeader()).toBe(false);
  });

  it('has who lost the Lease come back as a candidate, from the beginning', async () => {
    const a = join('a');
    await pass(1_000);
    api.current.fail('patch', 'Lease', new ApiUnreachable('no route'), { times: 8 });
    await pass(60_000);
    expect(a.lived).toEqual(['began', 'told to stop', 'stopped', 'began']);
    expect(a.election.problem()).toBeUndefined();
  });

  it('survives failures that end before the deadline without stopping anything', async () => {
    const a = join('a');
    const b = join('b');
    await pass(5_000);
    api.current.fail('patch', 'Lease', new ApiError(500, 'InternalError', 'etcd is slow'), { times: 3 });
    await pass(30_000);
    expect(a.lived).toEqual(['began']);
    expect(b.lived).toEqual([]);
  });

  it('counts the deadline from when a renewal was sent, not from its answer', async () => {
    const slow = slowPatches(api.current);
    const a = join('a', 0, slow.api);
    slow.clock = a.clock;
    await pass(5_000);
    slow.delayMs = 3_500;
    await pass(4_000);
    slow.isCut = true;
    const cutAtMs = a.clock.nowMs();
    await pass(9_750);
    const { renewTime = '' } = lease()?.spec ?? {};
    expect(a.lived.at(-1)).toBe('stopped');
    expect(a.clock.nowMs() - Date.parse(renewTime)).toBeLessThan(15_000);
    expect(cutAtMs).toBeGreaterThan(Date.parse(renewTime));
  });

  it('goes on after a renewal whose answer was lost', async () => {
    const a = join('a');
    await pass(3_000);
    api.current.fail('patch', 'Lease', new ApiUnreachable('reset'), { times: 1, afterEffect: true });
    await pass(30_000);
    expect(a.lived).toEqual(['began']);
  });

  it('goes on after somebody labelled the Lease, and after somebody deleted it', async () => {
    const a = join('a');
    const b = join('b');
    await pass(3_000);
    api.current.edit('Lease', 'loam/loam-controller', (found) => {
      found.metadata.labels = { touched: 'yes' };
    });
    await pass(10_000);
    api.current.erase('Lease', 'loam/loam-controller');
    await pass(10_000);
    expect(lease()?.spec?.holderIdentity).toBe('a');
    expect([a.lived, b.lived]).toEqual([['began'], []]);
  });

  it('stops at once when another one holds the Lease', async () => {
    const a = join('a');
    await pass(3_000);
    api.current.edit('Lease', 'loam/loam-controller', (found) => {
      found.spec = { ...found.spec, holderIdentity: 'usurper', renewTime: 'just now' };
    });
    await pass(2_500);
    expect(a.lived).toEqual(['began', 'told to stop', 'stopped']);
    expect(lease()?.spec?.holderIdentity).toBe('usurper');
  });

  it('has one of two that want it in the same moment win', async () => {
    const a = join('a');
    await pass(1_000);
    const [b, c] = [join('b'), join('c')];
    await pass(3_000);
    candidates.splice(candidates.indexOf(a), 1);
    await pass(40_000);
    expect([b, c].filter(({ isWorking }) => isWorking)).toHaveLength(1);
    expect([...b.lived, ...c.lived]).toEqual(['began']);
  });

  it('releases the Lease when told to end, after its work has stopped, and the other takes over at once', async () => {
    const a = join('a');
    await pass(1_000);
    const b = join('b');
    await pass(3_000);
    a.stopsWithinMs = 1_000;
    a.stop.abort(new Error('SIGTERM'));
    await pass(750);
    expect(lease()?.spec?.holderIdentity).toBe('a');
    await pass(2_750);
    expect(a.lived).toEqual(['began', 'told to stop', 'stopped']);
    await a.ended;
    expect(b.isWorking).toBe(true);
    expect(lease()?.spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
  });

  it('takes its own Lease back at once when it starts again under the same name', async () => {
    const a = join('a');
    await pass(1_000);
    candidates.splice(candidates.indexOf(a), 1);
    const again = join('a');
    await pass(0);
    expect(again.isWorking).toBe(true);
    expect(lease()?.spec?.leaseTransitions).toBe(0);
  });

  it('tells why it cannot lead, and leads as soon as it can', async () => {
    api.current.fail('get', 'Lease', new ApiError(403, 'Forbidden', 'leases is forbidden'), { times: 3 });
    const a = join('a');
    await pass(1_000);
    expect(a.election.problem()).toBe('leases is forbidden');
    await pass(10_000);
    expect(a.election.problem()).toBeUndefined();
    expect(a.isWorking).toBe(true);
  });
});

/** An API whose renewals are answered late, though they take effect at once, and later not at all. */
function slowPatches(inner: FakeKubeApi): {
  readonly api: KubeApi;
  clock: ManualClock | undefined;
  delayMs: number;
  isCut: boolean;
} {
  const slow = {
    clock: undefined as ManualClock | undefined,
    delayMs: 0,
    isCut: false,
    api: undefined as unknown as KubeApi,
  };
  const patch: KubeApi['patch'] = async (kind, key, body, signal, subresource) => {
    if (slow.isCut) throw new ApiUnreachable('cut');
    const answer = await inner.patch(kind, key, body, signal, subresource);
    if (slow.delayMs > 0) await slow.clock?.sleep(slow.delayMs, signal);
    return answer;
  };
  slow.api = new Proxy(inner, {
    get: (target, name) => {
      if (name === 'patch') return patch;
      const found: unknown = Reflect.get(target, name, target);
      return typeof found === 'function' ? (found.bind(target) as unknown) : found;
    },
  });
  return slow;
}
