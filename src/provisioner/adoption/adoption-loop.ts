import { messageOf } from '../../model/errors.ts';
import { every } from '../../model/every.ts';
import * as annotations from '../../claims/annotations.ts';
import { isOnNode } from '../../claims/volume-facts.ts';
import { adoptsByName } from './adopting-class.ts';
import { checkFits } from './check-fits.ts';
import type { ClaimGate } from './claim-gate.ts';
import { OfferingByName, type OfferingOptions } from './offer-by-name.ts';

/** What no news has told of is found out this late. */
const roundMs = 60_000;
/** Many claims that come at once are looked at in one go. */
const gatherMs = 20;
/** Every round looks at all that is held: however fast the news come, most of the time is others'. */
const restPerWork = 9;

export interface AdoptionLoopOptions extends OfferingOptions {
  readonly gate: ClaimGate;
}

/**
 * When volumes are offered by name: which news make a round, and how often there is one without. Each reads everything anew, so that
 * nothing has to be remembered.
 */
export class AdoptionLoop {
  readonly #options: AdoptionLoopOptions;
  readonly #offering: OfferingByName;
  #running: Promise<void> | undefined;
  #isAgain = false;
  #isAwake = false;
  #signal: AbortSignal | undefined;
  #lastRoundMs = 0;

  constructor(options: AdoptionLoopOptions) {
    this.#options = options;
    this.#offering = new OfferingByName(options);
    const { watches, own } = options;
    watches.onClaim(({ previous, current }) => {
      const claim = current ?? previous;
      if (claim !== undefined && adoptsByName(watches.classOf(claim), own.driverName)) this.#wake();
    });
    watches.onVolume(({ previous, current }) => {
      // one that went may have left an orphan, and one that came may be an offer
      const isNews = previous === undefined || current === undefined;
      const volume = current ?? previous;
      if (!isNews || volume?.spec.csi?.driver !== own.driverName || !isOnNode(volume, own)) return;
      if (this.#isAnyClass() || volume.metadata.annotations?.[annotations.adopted] !== undefined)
        this.#wake();
    });
    watches.onClass(({ current }) => {
      if (adoptsByName(current, own.driverName)) this.#wake();
    });
  }

  /** @returns how to stop listening; what is under way ends with the signal */
  start(signal: AbortSignal): () => void {
    this.#signal = signal;
    const stopSpace = this.#options.ledger.onSpaceChanged(() => {
      if (this.#isAnyClass()) this.#wake();
    });
    const stopRounds = every(this.#options.clock, roundMs, () => this.#wake());
    this.#look(signal);
    return () => {
      stopSpace();
      stopRounds();
    };
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  #wake(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted || this.#isAwake) return;
    this.#isAwake = true;
    this.#options.clock.after(Math.max(gatherMs, restPerWork * this.#lastRoundMs), () => {
      this.#isAwake = false;
      this.#look(signal);
    });
  }

  #look(signal: AbortSignal): void {
    if (signal.aborted) return;
    if (this.#running !== undefined) {
      this.#isAgain = true;
      return;
    }
    this.#running = this.#rounds(signal).finally(() => {
      this.#running = undefined;
    });
  }

  async #rounds(signal: AbortSignal): Promise<void> {
    const { gate, clock, log } = this.#options;
    do {
      this.#isAgain = false;
      try {
        const startMs = clock.nowMs();
        await this.#offering.offerAll(signal);
        // nobody waits for an offer but the claims of such a class
        if (this.#isAnyClass()) await checkFits(this.#options, signal);
        this.#lastRoundMs = clock.nowMs() - startMs;
        gate.open();
        gate.tidy();
      } catch (error) {
        if (!signal.aborted)
          log.warn({ err: messageOf(error) }, 'volumes could not be offered by name; trying again later');
      }
    } while (this.#isAgain && !signal.aborted);
  }

  #isAnyClass(): boolean {
    const { watches, own } = this.#options;
    return [...watches.classes()].some((each) => adoptsByName(each, own.driverName));
  }
}
