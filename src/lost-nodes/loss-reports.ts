import { claimKey, uidOf } from '../claims/claim-facts.ts';
import type { Tombstone } from '../claims/tombstone.ts';
import type { EventReason } from '../claims/event-reasons.ts';
import type { EventSink } from '../kube/event-recorder.ts';
import type { KindName } from '../kube/kinds.ts';
import type { KubeObject, PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { formatDurationMs } from '../model/duration.ts';
import { poolUuidKey } from '../model/volume.ts';
import type { ActingPolicy } from './decide-loss.ts';

const mostRemembered = 4_096;

/** What people are told, once per object and change of the text: a lost node is looked at for days. */
export class LossReports {
  readonly #events: EventSink<EventReason>;
  readonly #said = new Map<string, string>();

  constructor(events: EventSink<EventReason>) {
    this.#events = events;
  }

  unreadable(volume: PersistentVolume, reason: string): void {
    const text = `${reason}: as long as it says so, nothing is done where its node is lost`;
    this.#say('PersistentVolume', volume, 'Warning', 'InvalidNodeLossPolicy', text);
  }

  notAllowed(volume: PersistentVolume, reason: string): void {
    this.#say('PersistentVolume', volume, 'Warning', 'NodeLossNotAllowed', `${reason}; until then it waits`);
  }

  /** The time begins to run. */
  marked(volume: PersistentVolume, reason: string, { kind, afterMs }: ActingPolicy): void {
    const after = formatDurationMs(afterMs);
    const then =
      kind === 'release'
        ? `unless it is back within ${after}, this PV goes as soon as its claim is deleted`
        : `unless it is back within ${after}, its claim is made anew, empty, and what is in this volume is given up`;
    this.#say('PersistentVolume', volume, 'Warning', 'NodeLost', `${reason}; ${then}`);
  }

  /** The claim stays; what its owner can do. */
  claimStays(claim: PersistentVolumeClaim, volume: PersistentVolume, reason: string): void {
    const text = `${reason}, and the data of this claim is ${placeOf(volume)}; bring the node back, or give the data up: delete the claim and the pods that use it`;
    this.#say('PersistentVolumeClaim', claim, 'Warning', 'NodeLost', text);
  }

  /** The last that is heard of a PV. */
  released(volume: PersistentVolume, reason: string): void {
    const text = `${reason}, and nobody claims this volume: the PV goes. Left behind is ${placeOf(volume)}; the node destroys it when it is back with that disk`;
    this.#say('PersistentVolume', volume, 'Warning', 'VolumeLetGo', text);
  }

  recreated(claim: PersistentVolumeClaim, stone: Tombstone): void {
    const source = claim.spec.dataSource ?? claim.spec.dataSourceRef;
    const from = source === undefined ? 'empty' : `from ${source.kind} ${source.name}`;
    const text = `${stone.why}: claim ${claimKey(claim.metadata)} was made anew, ${from}. Lost to it is all that was in volume ${stone.volumeId} of pool ${stone.poolUuid || '(unknown)'} on node ${stone.topologyValue} (PV ${stone.volumeName})`;
    this.#say('PersistentVolumeClaim', claim, 'Warning', 'RecreatedEmpty', text);
  }

  #say(
    kind: KindName,
    object: KubeObject,
    type: 'Normal' | 'Warning',
    reason: EventReason,
    text: string,
  ): void {
    // the time that has passed is told once, not once more for each time that it has grown
    const key = `${uidOf(object)} ${reason}`;
    const gist = text.replace(/, for [0-9a-z]+/, '');
    if (this.#said.get(key) === gist) return;
    if (this.#said.size >= mostRemembered) this.#said.clear();
    this.#said.set(key, gist);
    this.#events.record({ kind, object }, type, reason, text);
  }
}

/** What is on which disk. */
function placeOf({ spec }: PersistentVolume): string {
  const pool = spec.csi?.volumeAttributes?.[poolUuidKey] ?? '(unknown)';
  return `volume ${spec.csi?.volumeHandle ?? ''} of ${spec.capacity?.['storage'] ?? '?'} in pool ${pool}`;
}
