import type { EventReason } from '../claims/event-reasons.ts';
import type { EventSink } from '../kube/event-recorder.ts';
import type { KindName } from '../kube/kinds.ts';
import type { KubeObject } from '../kube/objects.ts';
import { toldText } from '../model/told-text.ts';
import { uidOf } from '../claims/claim-facts.ts';

/** Tells people about outcomes, once per object and change of the text: attempts repeat, news does not. */
export class OutcomeEvents {
  readonly #sink: EventSink<EventReason>;
  /** object uid → reason → the text last said */
  readonly #said = new Map<string, Map<string, string>>();

  constructor(sink: EventSink<EventReason>) {
    this.#sink = sink;
  }

  normal(kind: KindName, object: KubeObject, reason: EventReason, message: string): void {
    this.#say({ kind, object }, 'Normal', reason, message);
  }

  warning(kind: KindName, object: KubeObject, reason: EventReason, message: string): void {
    this.#say({ kind, object }, 'Warning', reason, message);
  }

  /** The object is gone; a later one with the same name has another uid. */
  forget(uid: string): void {
    this.#said.delete(uid);
  }

  #say(
    involved: { kind: KindName; object: KubeObject },
    type: 'Normal' | 'Warning',
    reason: EventReason,
    text: string,
  ): void {
    // what differs in nothing that is told is no news
    const message = toldText(text);
    const uid = uidOf(involved.object);
    const said = this.#said.get(uid) ?? new Map<string, string>();
    if (said.get(reason) === message) return;
    this.#said.set(uid, said.set(reason, message));
    this.#sink.record(involved, type, reason, message);
  }
}
