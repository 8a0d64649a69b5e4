import type { Backend, BackendProbe } from '../../backends/backend.ts';
import { provisionalBy } from '../../backends/may-pass.ts';
import type { Directory } from '../../host/directory.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { removeTree } from '../../host/remove-tree.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { BackendOffer } from '../choose-backend.ts';

const scratchName = '.scratch';
/** about as claims are tried again, which double their waits too */
const firstWaitMs = 2000;
const longestWaitMs = 300_000;

export interface OfferParts {
  readonly root: Directory;
  readonly backends: readonly Backend[];
  readonly clock: Clock;
  readonly log: Log;
  /** aborts at shutdown */
  readonly signal: AbortSignal;
  /** runs what a full disk must not keep from being done */
  readonly withReserve: <T>(act: () => Promise<T>) => Promise<T>;
  /** told when a backend that was tried again says otherwise */
  readonly onNews: () => void;
}

/**
 * What each backend can do in one pool, by trying. A clear answer counts for as long as the pool is open; one that a failed command gave
 * is asked for again, less and less often, since a full disk or a killed process says nothing about the node.
 */
export class BackendOffers {
  readonly #parts: OfferParts;
  readonly #closing = new AbortController();
  #current: readonly BackendOffer[] = [];
  #waitMs = firstWaitMs;
  #cancelTimer = (): void => {};
  #asking: Promise<void> | undefined;

  private constructor(parts: OfferParts) {
    this.#parts = parts;
  }

  static async ask(parts: OfferParts): Promise<BackendOffers> {
    const offers = new BackendOffers(parts);
    offers.#current = await parts.withReserve(() => offers.#probe(parts.backends));
    offers.#tell('pool probed');
    offers.#schedule();
    return offers;
  }

  get current(): readonly BackendOffer[] {
    return this.#current;
  }

  /** Resolves when nothing in the pool's folder is under way any more. */
  async stop(): Promise<void> {
    this.#closing.abort(new Error('the pool is closed'));
    this.#cancelTimer();
    await this.#asking;
  }

  /** Backends that gave no clear answer. */
  #unclear(): readonly Backend[] {
    return this.#parts.backends.filter((backend) =>
      this.#current.some(({ name, probe }) => name === backend.name && probe.isProvisional === true),
    );
  }

  #schedule(): void {
    if (this.#closing.signal.aborted || this.#unclear().length === 0) return;
    this.#cancelTimer = this.#parts.clock.after(this.#waitMs, () => {
      this.#asking = this.#askAgain();
    });
    this.#waitMs = Math.min(2 * this.#waitMs, longestWaitMs);
  }

  /** Never rejects. */
  async #askAgain(): Promise<void> {
    const { log, withReserve, onNews } = this.#parts;
    try {
      const answers = await withReserve(() => this.#probe(this.#unclear()));
      if (this.#closing.signal.aborted) return;
      const before = this.#current;
      this.#current = before.map((offer) => answers.find(({ name }) => name === offer.name) ?? offer);
      if (this.#current.some((offer, index) => !isSame(offer.probe, before[index]?.probe))) {
        this.#tell('pool probed again');
        onNews();
      }
    } catch (error) {
      if (!this.#closing.signal.aborted)
        log.warn({ error: messageOf(error) }, 'pool could not be probed again');
    }
    this.#schedule();
  }

  /** Each in a folder that is gone afterwards. A backend that throws is unusable, not fatal. */
  async #probe(backends: readonly Backend[]): Promise<readonly BackendOffer[]> {
    const { root } = this.#parts;
    const signal = AbortSignal.any([this.#parts.signal, this.#closing.signal]);
    const offers: BackendOffer[] = [];
    for (const backend of backends) {
      const { name, features } = backend;
      await removeTree(root, scratchName, { signal, pace: unlimitedPace });
      const scratch = await root.ensureChild(scratchName, 0o700);
      try {
        offers.push({ name, features, probe: await backend.probe({ path: scratch.realPath }, signal) });
      } catch (error) {
        const probe = { usable: false, detail: messageOf(error), ...provisionalBy(error) } as const;
        offers.push({ name, features, probe });
      } finally {
        await scratch.close();
      }
      await removeTree(root, scratchName, { signal, pace: unlimitedPace });
    }
    return offers;
  }

  #tell(what: string): void {
    const facts = Object.fromEntries(this.#current.map(({ name, probe }) => [name, probe]));
    this.#parts.log.info({ path: this.#parts.root.realPath, backends: facts }, what);
  }
}

function isSame(one: BackendProbe, other: BackendProbe | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
