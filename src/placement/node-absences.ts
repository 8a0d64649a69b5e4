import type { Clock } from '../model/clock.ts';
import type { NodeState } from './node-state.ts';

export interface Absence {
  readonly driverLostSinceMs: number | undefined;
  readonly notReadySinceMs: number | undefined;
}

/**
 * Since when nodes have been without our driver, or not ready, as far as this process has seen: an upgrade of the DaemonSet takes the
 * driver away for seconds, and nobody writes down when.
 */
export class NodeAbsences {
  readonly #clock: Clock;
  readonly #driverLost = new Map<string, number>();
  readonly #notReady = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Called with every change of a node, and before its state is judged. */
  note(state: NodeState): Absence {
    const { name, hasDriver, isReady } = state;
    return {
      driverLostSinceMs: this.#since(this.#driverLost, name, !hasDriver),
      notReadySinceMs: this.#since(this.#notReady, name, !isReady),
    };
  }

  /** A node that comes back under the same name is another one. */
  forget(nodeName: string): void {
    this.#driverLost.delete(nodeName);
    this.#notReady.delete(nodeName);
  }

  #since(times: Map<string, number>, name: string, isAway: boolean): number | undefined {
    if (!isAway) {
      times.delete(name);
      return undefined;
    }
    const sinceMs = times.get(name) ?? this.#clock.nowMs();
    times.set(name, sinceMs);
    return sinceMs;
  }
}
