import type { Clock } from '../../model/clock.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import { Turns } from '../inline/turns.ts';
import { callError } from '../volume-environment.ts';

/** Full copies at once; more would only have the disk seek between them. */
const copiesAtOnce = 2;
/** Left to the caller for hearing our answer before its own deadline. */
const marginMs = 1000;
/** A failure that nobody asked after for so long is forgotten. */
const keepFailureMs = 3_600_000;

/** What a job is given. */
export interface CopyTurn {
  /** aborts when what is made is deleted, and at shutdown */
  readonly signal: AbortSignal;
  /** Notes how far it is. */
  progress(copiedBytes: bigint): void;
  /** whether the process ends: then what was made is left to the next start's recovery */
  isStopping(): boolean;
}

export interface CopyWork {
  /** for people: `snapshot snap_a of volume pvc-a` */
  readonly what: string;
  /** the most that there is to copy */
  readonly totalBytes: bigint;
  /** Copies and commits. */
  run(turn: CopyTurn): Promise<void>;
  /**
   * Removes what was made, after `run` failed or was never begun; what it throws is the failure then. Not called at shutdown: what is
   * there is known by its intent, and removed by the next start.
   */
  undo?(failure: StorageError): Promise<void>;
  /** Called last, however it ended. */
  ended?(): void;
}

/**
 * Copies that take as long as their data is large: each outlives the call that began it, and whoever asks again joins it. What
 * failed is told to the next who asks, and forgotten with that, so that the one after begins anew.
 */
export class CopyJobs {
  readonly #clock: Clock;
  readonly #jobs = new Map<string, CopyJob>();
  readonly #turns = new Turns(copiesAtOnce);
  readonly #stopping = new AbortController();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The job that makes this volume or snapshot, under way or failed; a finished one is none. */
  get(id: string): CopyJob | undefined {
    return this.#jobs.get(id);
  }

  /** Begins a job. Whoever begins holds the lock of what is made, and has seen that none is there. */
  begin(id: string, work: CopyWork): CopyJob {
    this.#stopping.signal.throwIfAborted();
    for (const [old, job] of this.#jobs) {
      const isOld = job.failedAtMs !== undefined && this.#clock.nowMs() - job.failedAtMs > keepFailureMs;
      if (isOld) this.#jobs.delete(old);
    }
    const job = new CopyJob({
      work,
      clock: this.#clock,
      turns: this.#turns,
      stopping: this.#stopping.signal,
      settled: (isTold) => {
        if (isTold && this.#jobs.get(id) === job) this.#jobs.delete(id);
      },
    });
    this.#jobs.set(id, job);
    return job;
  }

  /**
   * Ends a job and resolves when it has cleared up; its failure is forgotten.
   *
   * @throws StorageError 'still-removing' a second before the caller's deadline: a disk that hangs holds whoever writes to it
   */
  async cancel(id: string, call: CallContext): Promise<void> {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    const { signal, cancel } = untilLate(this.#clock, call);
    try {
      const ended = job.cancel(
        new StorageError('cancelled', `${job.what} is being deleted; nothing of it is kept`),
      );
      if ((await Promise.race([ended, aborted(signal)])) === 'late') {
        throw new StorageError('still-removing', `${job.what} is being given up; repeat the call`);
      }
    } finally {
      cancel();
    }
    if (this.#jobs.get(id) === job) this.#jobs.delete(id);
  }

  /**
   * Ends every job, without clearing up: what they made is known by its intent, and removed by the next start. One that does not
   * end is not waited for longer than this.
   */
  async stop(patienceMs = 10_000): Promise<void> {
    this.#stopping.abort(
      new StorageError(
        'cancelled',
        'loam is being stopped; a repeat begins the copy anew after the next start',
      ),
    );
    const running = [...this.#jobs.values()].filter((job) => job.failedAtMs === undefined);
    if (running.length === 0) return;
    const patience = new AbortController();
    await Promise.race([
      Promise.all(running.map((job) => job.over)).finally(() => patience.abort()),
      this.#clock.sleep(patienceMs, patience.signal).catch(() => {}),
    ]);
  }
}

/** One copy under way, or its failure. */
export class CopyJob {
  readonly what: string;
  /** resolves when nothing of it runs any more, however it ended */
  readonly over: Promise<void>;
  /** unset while it runs */
  failedAtMs: number | undefined;
  readonly #totalBytes: bigint;
  readonly #clock: Clock;
  readonly #outcome: Promise<StorageError | undefined>;
  readonly #cancelling = new AbortController();
  readonly #settled: (isTold: boolean) => void;
  #copiedBytes = 0n;

  constructor(parts: {
    readonly work: CopyWork;
    readonly clock: Clock;
    readonly turns: Turns;
    readonly stopping: AbortSignal;
    /** told when it is over; with true once nobody has to hear of it any more */
    readonly settled: (isTold: boolean) => void;
  }) {
    const { work, clock, turns, stopping, settled } = parts;
    this.what = work.what;
    this.#totalBytes = work.totalBytes;
    this.#clock = clock;
    this.#settled = settled;
    const signal = AbortSignal.any([stopping, this.#cancelling.signal]);
    const turn: CopyTurn = {
      signal,
      progress: (copiedBytes) => {
        this.#copiedBytes = copiedBytes;
      },
      isStopping: () => stopping.aborted,
    };
    const call = { signal };
    const doing = `copying ${work.what}`;
    this.#outcome = turns
      .run(call, doing, () => work.run(turn))
      .then(
        () => {
          // before anybody can hear of it: whoever does may delete the source at once
          work.ended?.();
          settled(true);
          return undefined;
        },
        async (error: unknown) => {
          const failure = callError(error, call, doing);
          const worse = stopping.aborted ? undefined : await undone(work, failure);
          this.failedAtMs = clock.nowMs();
          work.ended?.();
          return worse ?? failure;
        },
      );
    this.over = this.#outcome.then(() => {});
  }

  /** How far it is, for people: `40 % of 10 GiB copied`. */
  get progress(): string {
    const isKnown = this.#totalBytes > 0n;
    const share = isKnown ? (this.#copiedBytes * 100n) / this.#totalBytes : 0n;
    const percent = share > 99n ? 99n : share;
    return isKnown ? `${percent} % of ${formatBytes(this.#totalBytes)} copied` : 'under way';
  }

  /**
   * Resolves when the copy is there. The caller's end does not end the copy.
   *
   * @throws StorageError 'still-copying' a second before the caller's deadline, or when it goes away; the failure of the copy
   */
  async join(call: CallContext): Promise<void> {
    const { signal, cancel } = untilLate(this.#clock, call);
    try {
      const failure = await Promise.race([this.#outcome, aborted(signal)]);
      if (failure === 'late') {
        throw new StorageError('still-copying', `${this.what}: ${this.progress}; repeat the call`);
      }
      if (failure === undefined) return;
      this.#settled(true);
      throw failure;
    } finally {
      cancel();
    }
  }

  async cancel(reason: StorageError): Promise<void> {
    this.#cancelling.abort(reason);
    await this.over;
  }
}

/** A signal that aborts a second before the caller stops listening, or when it goes away. */
export function untilLate(
  clock: Clock,
  call: CallContext,
): { readonly signal: AbortSignal; readonly late: AbortSignal; readonly cancel: () => void } {
  const late = new AbortController();
  const leftMs = call.deadlineMs === undefined ? undefined : call.deadlineMs - clock.nowMs();
  const cancel =
    leftMs === undefined
      ? () => {}
      : clock.after(Math.max(leftMs - marginMs, leftMs / 2, 0), () => {
          late.abort();
        });
  return { signal: AbortSignal.any([call.signal, late.signal]), late: late.signal, cancel };
}

/** Why it could not be undone, if so. */
async function undone(work: CopyWork, failure: StorageError): Promise<StorageError | undefined> {
  try {
    await work.undo?.(failure);
    return undefined;
  } catch (error) {
    return StorageError.from(error, `${work.what}: ${failure.message}; not undone`);
  }
}

function aborted(signal: AbortSignal): Promise<'late'> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('late');
    else signal.addEventListener('abort', () => resolve('late'), { once: true });
  });
}
