import type { Clock } from '../model/clock.ts';
import type { ControllerCapability, ControllerDriver } from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';

const answerMs = 10_000;

/**
 * What the driver can do, as it said last. Our own driver's answer follows from the pools that are open, and one may be mounted after
 * the start: so `known` is one set that changes, and whoever has it sees what is true now.
 */
export class CurrentCapabilities {
  readonly known: ReadonlySet<ControllerCapability>;
  readonly #known: Set<ControllerCapability>;
  readonly #driver: Pick<ControllerDriver, 'getControllerCapabilities'>;
  readonly #onChange: () => void;
  readonly #clock: Clock;
  readonly #log: Log;
  #isAsking = false;
  #isAskedAgain = false;

  constructor(options: {
    /** what it said at first contact */
    readonly first: ReadonlySet<ControllerCapability>;
    readonly driver: Pick<ControllerDriver, 'getControllerCapabilities'>;
    /** told after each answer that differs from the one before */
    readonly onChange: () => void;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#known = new Set(options.first);
    this.known = this.#known;
    this.#driver = options.driver;
    this.#onChange = options.onChange;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Asks again; of many that ask at once one question is made. Never throws: without an answer the last one stands. */
  async refresh(signal: AbortSignal): Promise<void> {
    this.#isAskedAgain = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      while (this.#isAskedAgain && !signal.aborted) {
        this.#isAskedAgain = false;
        this.#take(await this.#ask(signal));
      }
    } catch (error) {
      if (!signal.aborted)
        this.#log.warn(
          { err: messageOf(error) },
          'the driver did not say what it can do; its last word stands',
        );
    } finally {
      this.#isAsking = false;
    }
  }

  async #ask(signal: AbortSignal): Promise<ReadonlySet<ControllerCapability>> {
    const cut = new AbortController();
    const cancel = this.#clock.after(answerMs, () => cut.abort(new Error('no answer from the driver')));
    try {
      return await this.#driver.getControllerCapabilities({ signal: AbortSignal.any([signal, cut.signal]) });
    } finally {
      cancel();
    }
  }

  #take(now: ReadonlySet<ControllerCapability>): void {
    const came = [...now].filter((each) => !this.#known.has(each));
    const went = [...this.#known].filter((each) => !now.has(each));
    if (came.length === 0 && went.length === 0) return;
    for (const each of came) this.#known.add(each);
    for (const each of went) this.#known.delete(each);
    this.#log.info({ came, went }, 'what the driver can do has changed');
    this.#onChange();
  }
}
