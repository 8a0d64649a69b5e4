import { isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { Node } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';

/** A Node that was made anew while nothing of ours was deleted shows at the latest after this. */
const againMs = 3 * 60_000;
const missingMs = 5_000;
/** The garbage collector deletes all our objects within moments: one look for all of them. */
const settleMs = 50;

interface OwnNodeOptions {
  readonly api: KubeApi;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Log;
  /** told after every look */
  readonly onLook: () => void;
}

/** This node's Node object, by a GET now and then: a watch of Nodes brings every kubelet's status of the whole cluster. */
export class OwnNode {
  readonly #options: OwnNodeOptions;
  #node: Node | undefined;
  #isDoubtful = true;
  /** doubts so far: an answer that was asked for before the last one does not end it */
  #doubts = 0;
  #cancel: () => void = () => {};
  #looking: Promise<void> | undefined;
  #lastProblem = '';
  #signal: AbortSignal | undefined;

  constructor(options: OwnNodeOptions) {
    this.#options = options;
  }

  /** Undefined where there is none, and while it is being found out. */
  get current(): Node | undefined {
    return this.#isDoubtful ? undefined : this.#node;
  }

  start(signal: AbortSignal): void {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#cancel(), { once: true });
    this.#arm(0);
  }

  /** What depended on it was deleted: until it was looked at again nothing is known of it. */
  lookAgain(): void {
    this.#doubts += 1;
    if (this.#isDoubtful) return;
    this.#isDoubtful = true;
    this.#arm(settleMs);
  }

  /** The API server is there again: a look that failed is not put off any longer. */
  retry(): void {
    if (this.#lastProblem !== '') this.#arm(settleMs);
  }

  /** Resolves when no look is under way. */
  async idle(): Promise<void> {
    await this.#looking;
  }

  #arm(delayMs: number): void {
    this.#cancel();
    if (this.#signal?.aborted !== false) return;
    this.#cancel = this.#options.clock.after(delayMs, () => {
      this.#looking = this.#look();
    });
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const { api, nodeName, clock, onLook } = this.#options;
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    const startMs = clock.nowMs();
    const doubts = this.#doubts;
    let problem = '';
    try {
      const { metadata } = await api.get('Node', { name: nodeName }, signal);
      const { name, uid, labels } = metadata;
      // its status is long, and nobody here reads it
      this.#node = {
        metadata: {
          name,
          ...(uid === undefined ? {} : { uid }),
          ...(labels === undefined ? {} : { labels }),
        },
      };
    } catch (error) {
      if (signal.aborted) return;
      if (isNotFound(error)) {
        this.#node = undefined;
        problem = `there is no Node ${nodeName}; its room is published, and its pools' troubles are told, when there is one`;
      } else {
        problem = `Node ${nodeName} cannot be read: ${messageOf(error)}`;
      }
    }
    if (doubts !== this.#doubts) {
      this.#isDoubtful = true;
      this.#arm(settleMs);
      return;
    }
    if (problem !== this.#lastProblem && problem !== '') this.#options.log.warn({}, problem);
    this.#lastProblem = problem;
    this.#isDoubtful = problem !== '';
    this.#arm(problem === '' ? againMs : Math.max(0, startMs + missingMs - clock.nowMs()));
    onLook();
  }
}
