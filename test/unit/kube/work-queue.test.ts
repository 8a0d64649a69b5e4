import * as fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Outcome, WorkQueue } from '../../../src/kube/work-queue.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const done: Outcome = { kind: 'done' };
const retry: Outcome = { kind: 'retry' };

let clock: ManualClock;
let stop: AbortController;

beforeEach(() => {
  clock = new ManualClock();
  stop = new AbortController();
});

describe('the work queue', () => {
  it('works on a key once, however often it was added', async () => {
    const { queue, runs } = queueOf(() => done);
    for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
    expect(queue.depth).toBe(2);
    queue.start(stop.signal);
    await clock.advance(0);
    expect(runs()).toEqual(['a@0', 'b@0']);
  });

  it('works on a key again when it was added meanwhile', async () => {
    const turn = Promise.withResolvers<Outcome>();
    let isFirst = true;
    const { queue, runs } = queueOf(() => {
      if (!isFirst) return done;
      isFirst = false;
      return turn.promise;
    });
    queue.start(stop.signal);
    queue.add('a');
    await clock.advance(0);
    queue.add('a');
    queue.add('a');
    await clock.advance(0);
    expect(runs()).toEqual(['a@0']);
    turn.resolve(done);
    await clock.advance(0);
    expect(runs()).toEqual(['a@0', 'a@0']);
  });

  it('has at most so many workers', async () => {
    const turns: (() => void)[] = [];
    const { queue } = queueOf(() => new Promise<Outcome>((resolve) => turns.push(() => resolve(done))), {
      workers: 3,
    });
    queue.start(stop.signal);
    for (let i = 0; i < 10; i += 1) queue.add(`k${i}`);
    await clock.advance(0);
    expect(turns).toHaveLength(3);
    expect(queue.depth).toBe(7);
    turns[0]?.();
    await clock.advance(0);
    expect(turns).toHaveLength(4);
  });

  it('tries again ever later, and at its first pace after a success', async () => {
    const outcomes: Outcome[] = [retry, retry, retry, done];
    const { queue, runs } = queueOf(() => outcomes.shift() ?? retry, {
      backoff: { baseMs: 1_000, maxMs: 3_000 },
    });
    queue.start(stop.signal);
    queue.add('a');
    await clock.advance(20_000);
    const [first = 0, second = 0, third = 0, fourth = 0, ...later] = runs().map((run) =>
      Number(run.split('@')[1]),
    );
    expect(later).toEqual([]);
    expect(first).toBe(0);
    expectBetween(second - first, 750, 1_000);
    expectBetween(third - second, 1_500, 2_000);
    expectBetween(fourth - third, 2_250, 3_000);

    queue.add('a');
    await clock.advance(1_000);
    expect(runs()).toHaveLength(6);
  });

  it('takes a thrown error for a retry', async () => {
    let isFirst = true;
    const { queue, runs } = queueOf(() => {
      if (!isFirst) return done;
      isFirst = false;
      throw new Error('no disk');
    });
    queue.start(stop.signal);
    queue.add('a');
    await clock.advance(1_000);
    expect(runs()).toHaveLength(2);
  });

  it('keeps to the time that an outcome names', async () => {
    const outcomes: Outcome[] = [{ kind: 'retry', afterMs: 60_000 }];
    const { queue, runs } = queueOf(() => outcomes.shift() ?? done);
    queue.start(stop.signal);
    queue.add('a');
    await clock.advance(100_000);
    expect(runs()).toEqual(['a@0', 'a@60000']);
  });

  it('goes at once when a key is added in the middle of its wait, and not a second time for the wait', async () => {
    const outcomes: Outcome[] = [{ kind: 'retry', afterMs: 60_000 }];
    const { queue, runs } = queueOf(() => outcomes.shift() ?? done);
    queue.start(stop.signal);
    queue.add('a');
    await clock.advance(10_000);
    queue.add('a');
    await clock.advance(100_000);
    expect(runs()).toEqual(['a@0', 'a@10000']);
  });

  it('keeps an appointment though the key was worked on meanwhile', async () => {
    const { queue, runs } = queueOf(() => done);
    queue.start(stop.signal);
    queue.addAfter('a', 5_000);
    queue.addAfter('a', 9_000);
    queue.add('a');
    await clock.advance(20_000);
    expect(runs()).toEqual(['a@0', 'a@5000']);
  });

  it('does not begin within add', () => {
    const { queue, runs } = queueOf(() => done);
    queue.start(stop.signal);
    queue.add('a');
    expect(runs()).toEqual([]);
  });

  it('begins nothing after the abort, and is idle when the last worker is done', async () => {
    const turn = Promise.withResolvers<Outcome>();
    const { queue, runs } = queueOf(() => turn.promise, { workers: 1 });
    queue.start(stop.signal);
    queue.add('a');
    queue.add('b');
    queue.addAfter('c', 10);
    await clock.advance(0);
    stop.abort();
    let isIdle = false;
    void queue.idle().then(() => (isIdle = true));
    await clock.advance(1_000);
    expect(isIdle).toBe(false);
    turn.resolve(retry);
    await clock.advance(1_000_000);
    expect(isIdle).toBe(true);
    expect(runs()).toEqual(['a@0']);
    expect(clock.waiting).toBe(0);
  });

  it('measures under the names that dashboards know', async () => {
    const seen = new Set<string>();
    const note = (name: string, labels: object) => seen.add(`${name}${JSON.stringify(labels)}`);
    const metrics = { count: note, gauge: note, observeSeconds: note };
    const outcomes = [retry];
    const { queue } = queueOf(() => outcomes.shift() ?? done, { metrics });
    queue.start(stop.signal);
    queue.add('a');
    await clock.advance(10_000);
    queue.measure();
    const names = ['adds_total', 'depth', 'queue_duration_seconds', 'work_duration_seconds', 'retries_total'];
    names.push('unfinished_work_seconds', 'longest_running_processor_seconds');
    expect([...seen].sort()).toEqual(names.map((name) => `workqueue_${name}{"name":"test"}`).sort());
  });
});

type Step =
  | { readonly do: 'add'; readonly key: string }
  | { readonly do: 'forget'; readonly key: string }
  | { readonly do: 'addAfter'; readonly key: string; readonly delayMs: number }
  | { readonly do: 'advance'; readonly byMs: number }
  | { readonly do: 'finish'; readonly nth: number; readonly how: 'done' | 'retry' | 'later' | 'throw' };

const keys = fc.constantFrom('a', 'b', 'c', 'd');
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), key: keys }) },
  fc.record({ do: fc.constant('forget' as const), key: keys }),
  fc.record({ do: fc.constant('addAfter' as const), key: keys, delayMs: fc.integer({ min: 0, max: 5_000 }) }),
  fc.record({ do: fc.constant('advance' as const), byMs: fc.integer({ min: 0, max: 3_000 }) }),
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('finish' as const),
      nth: fc.nat(3),
      how: fc.constantFrom('done' as const, 'retry' as const, 'later' as const, 'throw' as const),
    }),
  },
);

describe('whatever is added, finished and failed in whatever order', () => {
  it('no key has two workers, no more workers run than there are, and nothing added is lost', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(steps, { maxLength: 60 }),
        fc.integer({ min: 1, max: 3 }),
        async (script, workers) => {
          clock = new ManualClock();
          stop = new AbortController();
          const model = new Model();
          const { queue } = queueOf((key) => model.begin(key), { workers });
          queue.start(stop.signal);
          for (const step of script) {
            if (step.do === 'add') model.wants(step.key, () => queue.add(step.key));
            else if (step.do === 'addAfter') queue.addAfter(step.key, step.delayMs);
            else if (step.do === 'forget') queue.forget(step.key);
            else if (step.do === 'advance') await clock.advance(step.byMs);
            else model.finish(step.nth, step.how);
            await clock.advance(0);
            expect(model.mostPerKey).toBeLessThanOrEqual(1);
            expect(model.running.length).toBeLessThanOrEqual(workers);
          }
          while (model.running.length > 0 || queue.depth > 0 || clock.waiting > 0) {
            model.finish(0, 'done');
            await clock.advance(10_000);
          }
          expect(model.unheard()).toEqual([]);
          stop.abort();
          await queue.idle();
        },
      ),
    );
  });
});

/** What must be true of the runs, seen from outside. */
class Model {
  readonly running: { readonly key: string; readonly end: (how: string) => void }[] = [];
  mostPerKey = 0;
  #time = 0;
  readonly #wantedAt = new Map<string, number>();
  readonly #begunAt = new Map<string, number>();

  wants(key: string, add: () => void): void {
    this.#wantedAt.set(key, (this.#time += 1));
    add();
  }

  begin(key: string): Promise<Outcome> {
    this.#begunAt.set(key, (this.#time += 1));
    return new Promise((resolve, reject) => {
      const end = (how: string) => {
        if (how === 'throw') reject(new Error('as scripted'));
        else if (how === 'later') resolve({ kind: 'retry', afterMs: 2_000 });
        else resolve(how === 'retry' ? retry : done);
      };
      this.running.push({ key, end });
      this.mostPerKey = Math.max(this.mostPerKey, this.running.filter((run) => run.key === key).length);
    });
  }

  finish(nth: number, how: string): void {
    const [run] = this.running.splice(Math.min(nth, this.running.length - 1), 1);
    run?.end(how);
  }

  /** keys that were added after the last run of theirs began */
  unheard(): string[] {
    return [...this.#wantedAt].filter(([key, at]) => (this.#begunAt.get(key) ?? 0) < at).map(([key]) => key);
  }
}

function queueOf(
  reconcile: (key: string) => Outcome | Promise<Outcome>,
  options: Partial<ConstructorParameters<typeof WorkQueue>[0]> = {},
) {
  const startMs = clock.nowMs();
  const runs: string[] = [];
  const queue = new WorkQueue({
    name: 'test',
    reconcile: async (key) => {
      runs.push(`${key}@${clock.nowMs() - startMs}`);
      return reconcile(key);
    },
    workers: 2,
    backoff: { baseMs: 100, maxMs: 1_000 },
    clock,
    log: silentLog,
    metrics: noMetrics,
    ...options,
  });
  return { queue, runs: () => runs };
}

function expectBetween(value: number, least: number, most: number): void {
  expect(value).toBeGreaterThanOrEqual(least);
  expect(value).toBeLessThanOrEqual(most);
}
