import type { Node } from '../../kube/objects.ts';
import type { PoolTrouble } from '../../model/volume-ledger.ts';
import type { EventReason } from '../../claims/event-reasons.ts';
import type { EventSink } from '../../kube/event-recorder.ts';

/** Tells on the Node which of its pools are missing and which are back, once a change. */
export class PoolEvents {
  readonly #sink: EventSink<EventReason>;
  /** pool → what was told of it */
  readonly #told = new Map<string, PoolTrouble>();

  constructor(sink: EventSink<EventReason>) {
    this.#sink = sink;
  }

  tell(node: Node, troubles: readonly PoolTrouble[]): void {
    const involved = { kind: 'Node', object: node } as const;
    for (const trouble of troubles) {
      const { name, path, why } = trouble;
      if (this.#told.get(name)?.why === why) continue;
      this.#told.set(name, trouble);
      const text = `pool ${name} at ${path} is unavailable: ${why}`;
      this.#sink.record(involved, 'Warning', 'PoolUnavailable', text);
    }
    const missing = new Set(troubles.map(({ name }) => name));
    for (const [name, { path }] of this.#told) {
      if (missing.has(name)) continue;
      this.#told.delete(name);
      this.#sink.record(involved, 'Normal', 'PoolAvailable', `pool ${name} at ${path} is available again`);
    }
  }
}
