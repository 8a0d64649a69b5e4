import { claimKey, uidOf } from '../claims/claim-facts.ts';
import type {
  CsiNode,
  CsiStorageCapacity,
  Node,
  PersistentVolumeClaim,
  StorageClass,
} from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import { sizeOf } from './claim-size.ts';
import type { Candidate, NodeFacts } from './decide-node.ts';
import { type Absence, NodeAbsences } from './node-absences.ts';
import { type NodeState, nodeStateOf } from './node-state.ts';
import { PromisedRoom } from './promised-room.ts';
import { Refusals } from './refusals.ts';
import { type Room, roomOf } from './room.ts';
import type { Watches } from './watches.ts';

/** What is the same of a node for all claims of a class. */
interface Standing {
  readonly node: NodeState;
  readonly room: Room | undefined;
  readonly shownMark: number;
}

/** All nodes as one claim sees them: what the watches know, and what only this process remembers. */
export class Survey {
  readonly promised: PromisedRoom;
  readonly refusals: Refusals;
  readonly #absences: NodeAbsences;
  readonly #watches: Watches;
  readonly #driverName: string;
  /** changes of capacity objects so far; each object's last one */
  #changes = 0;
  readonly #changedAt = new WeakMap<CsiStorageCapacity, number>();
  /** read once per version of an object: there are thousands, and each claim looks at all */
  readonly #rooms = new WeakMap<CsiStorageCapacity, Room>();
  readonly #states = new WeakMap<
    Node,
    { readonly csiNode: CsiNode | undefined; readonly state: NodeState }
  >();

  readonly #standings = new Map<string, readonly Standing[]>();
  readonly #selectedAtMs = new Map<string, number>();
  readonly #clock: Clock;

  constructor(options: { readonly watches: Watches; readonly driverName: string; readonly clock: Clock }) {
    this.#watches = options.watches;
    this.#driverName = options.driverName;
    this.#clock = options.clock;
    this.promised = new PromisedRoom(options.clock);
    this.refusals = new Refusals(options.clock);
    this.#absences = new NodeAbsences(options.clock);
  }

  /** The node was selected for the claim: until it shows, that much less is there for others. */
  promise(claim: PersistentVolumeClaim, nodeName: string): void {
    this.promised.add(uidOf(claim), nodeName, sizeOf(claim), this.#changes);
  }

  /** The node has given the claim back. */
  refused(claim: PersistentVolumeClaim, nodeName: string): void {
    this.promised.end(uidOf(claim));
    this.refusals.add(uidOf(claim), nodeName, this.#changes);
  }

  /** Seen when it happened, and not found so at the start. */
  selected(claimUid: string): void {
    this.#selectedAtMs.set(claimUid, this.#clock.nowMs());
  }

  /** Since when the claim has waited for its node; undefined: since before this process looked. */
  selectedSinceMs(claimUid: string): number | undefined {
    return this.#selectedAtMs.get(claimUid);
  }

  /** The claim needs no node any more; what was promised to it may not show yet. */
  settled(claimUid: string): void {
    this.refusals.forget(claimUid);
    this.#selectedAtMs.delete(claimUid);
  }

  /** The claim is gone. */
  forget(claimUid: string): void {
    this.promised.end(claimUid);
    this.settled(claimUid);
  }

  capacityChanged(previous: CsiStorageCapacity | undefined, current: CsiStorageCapacity | undefined): void {
    this.#changes += 1;
    for (const object of [previous, current]) this.#standings.delete(object?.storageClassName ?? '');
    if (current !== undefined) this.#changedAt.set(current, this.#changes);
  }

  nodeState(nodeName: string): NodeState | undefined {
    const node = this.#watches.node(nodeName);
    if (node === undefined) return undefined;
    const csiNode = this.#watches.csiNode(nodeName);
    const known = this.#states.get(node);
    if (known !== undefined && known.csiNode === csiNode) return known.state;
    const state = nodeStateOf(node, csiNode, this.#driverName);
    this.#states.set(node, { csiNode, state });
    return state;
  }

  /** Since when the node has been away, counted from when it was first asked or told. */
  absenceOf(nodeName: string): Absence {
    const state = this.nodeState(nodeName);
    if (state !== undefined) return this.#absences.note(state);
    this.#absences.forget(nodeName);
    return { driverLostSinceMs: undefined, notReadySinceMs: undefined };
  }

  /** A Node made anew under the same name is another one. */
  nodeReplaced(nodeName: string): void {
    this.#absences.forget(nodeName);
  }

  /** News of nodes or of their drivers: what was gathered from them does not hold any more. */
  nodesChanged(): void {
    this.#standings.clear();
  }

  /** Nodes with the driver, and those that still publish what they have. */
  factsFor(claim: PersistentVolumeClaim, storageClass: StorageClass): NodeFacts {
    const uid = uidOf(claim);
    const candidates = this.#standingsFor(storageClass.metadata.name).map(
      ({ node, room, shownMark }): Candidate => ({
        node,
        room,
        promisedBytes: this.promised.bytesOn(node.name, shownMark, uid),
        refusedForMs: this.refusals.restMs(uid, node.name, shownMark),
      }),
    );
    const { metadata } = claim;
    return { claim: claimKey(metadata), requestedBytes: sizeOf(claim), storageClass, candidates };
  }

  /** The same for all claims of a class until something changes: a burst need not gather thousands of nodes for each. */
  #standingsFor(className: string): readonly Standing[] {
    const known = this.#standings.get(className);
    if (known !== undefined) return known;
    const capacities = this.#watches.capacitiesOf(className);
    const standings: Standing[] = [];
    for (const { metadata } of this.#watches.nodes()) {
      const node = this.nodeState(metadata.name);
      if (node === undefined) continue;
      const object = capacities.get(node.topologyValue);
      if (object === undefined && !node.hasDriver) continue;
      const shownMark = object === undefined ? 0 : (this.#changedAt.get(object) ?? 0);
      standings.push({ node, room: object === undefined ? undefined : this.#roomOf(object), shownMark });
    }
    this.#standings.set(className, standings);
    return standings;
  }

  #roomOf(object: CsiStorageCapacity): Room {
    const known = this.#rooms.get(object);
    if (known !== undefined) return known;
    const room = roomOf(object);
    this.#rooms.set(object, room);
    return room;
  }
}
