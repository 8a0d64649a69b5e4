import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { HeldVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import { HandleLook } from '../handle-look.ts';
import type { ClusterView } from '../watches.ts';
import { decideOrphan, mayStandFor, type OrphanDecision, type OrphanSide } from './decide-orphan.ts';

/** A volume on this node's disks and whose it is, as far as that can be told now. */
export interface Whose {
  readonly held: HeldVolume;
  readonly decision: OrphanDecision | { readonly kind: 'unknown'; readonly reason: string };
}

export interface OrphansOptions {
  readonly api: Pick<KubeApi, 'list'>;
  readonly watches: Pick<ClusterView, 'volumesOfHandle'>;
  readonly ledger: Pick<VolumeLedger, 'held' | 'heldOf'>;
  readonly driverName: string;
  readonly clusterUid: string | undefined;
  readonly clock: Clock;
}

/**
 * Tells which volumes on this node's disks nobody stands for. Where the watch knows a PV of a volume, that is enough; nobody is told
 * "orphan" before the API server was asked for every PV that there is, labelled or not.
 */
export class Orphans {
  readonly #options: OrphansOptions;
  readonly #live: HandleLook;
  /** volume id → the end of the last work on it */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: OrphansOptions) {
    this.#options = options;
    this.#live = new HandleLook(options.api);
  }

  /** Every volume that is held. Never throws for an API server that does not answer: then it is unknown whose they are. */
  async list(signal: AbortSignal): Promise<readonly Whose[]> {
    const { ledger, api } = this.#options;
    return this.#judge(
      () => ledger.held(),
      async (ids) => {
        const keep = ({ spec }: PersistentVolume): boolean => ids.has(spec.csi?.volumeHandle ?? '');
        return (await api.list('PersistentVolume', { keep }, signal)).items;
      },
      signal,
    );
  }

  /**
   * One volume, asked of the API server now, so that it may be acted upon.
   *
   * @throws StorageError 'volume-not-found'; 'wrong-pool' where two pools have one of this id
   */
  async look(volumeId: string, signal: AbortSignal): Promise<Whose> {
    const [found, other] = await this.#judge(
      () => this.#options.ledger.heldOf(volumeId),
      () => this.#live.volumesOfHandle(volumeId, signal),
      signal,
    );
    if (found === undefined) {
      throw new StorageError(
        'volume-not-found',
        `volume ${volumeId} is in no open pool of this node; loam volumes lists what is`,
      );
    }
    if (other === undefined) return found;
    throw new StorageError(
      'wrong-pool',
      `volume ${volumeId} lies in pools ${found.held.poolName} and ${other.held.poolName}; take the copy away, then repeat`,
    );
  }

  /**
   * The PV that stands for whatever has this id in a pool, asked of the API server now; also of what lies in the trash, and is held no more.
   * @throws ApiError, or whatever keeps it from being asked
   */
  async owner(
    volumeId: string,
    poolUuid: string,
    signal: AbortSignal,
  ): Promise<PersistentVolume | undefined> {
    const { watches, driverName } = this.#options;
    const live = await this.#live.volumesOfHandle(volumeId, signal);
    return [...live, ...watches.volumesOfHandle(volumeId)].find((volume) =>
      mayStandFor(volume, { volumeId, poolUuid }, driverName),
    );
  }

  /** Runs work on a volume without a PV, one at a time for each: what adopts it and what removes it must not meet. */
  async alone<T>(volumeId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(volumeId) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#turns.set(volumeId, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(volumeId) === turn) this.#turns.delete(volumeId);
    }
  }

  async #judge(
    read: () => readonly HeldVolume[],
    ask: (ids: ReadonlySet<string>) => Promise<readonly PersistentVolume[]>,
    signal: AbortSignal,
  ): Promise<readonly Whose[]> {
    const { watches } = this.#options;
    const known = read();
    const byWatch = known.map((held) => this.#decide(held, watches.volumesOfHandle(held.volumeId)));
    const unsure = new Set(
      byWatch.flatMap(({ decision, held }) => (decision.kind === 'owned' ? [] : held.volumeId)),
    );
    if (unsure.size === 0) return byWatch;
    let live: readonly PersistentVolume[];
    try {
      live = await ask(unsure);
    } catch (error) {
      signal.throwIfAborted();
      const reason = `no PersistentVolume of it is known, and the API server could not be asked: ${messageOf(error)}`;
      return byWatch.map(({ held, decision }) =>
        decision.kind === 'owned' ? { held, decision } : { held, decision: { kind: 'unknown', reason } },
      );
    }
    // as the records are by now: what was deleted or seen to have a PV meanwhile is not told of as it was
    const now = read();
    const judged = new Map(byWatch.map((whose) => [keyOf(whose.held), whose]));
    const liveByHandle = Map.groupBy(live, ({ spec }) => spec.csi?.volumeHandle);
    return now.flatMap((held) => {
      const before = judged.get(keyOf(held));
      if (before === undefined) return [];
      if (before.decision.kind === 'owned') return [before];
      const seen = liveByHandle.get(held.volumeId) ?? [];
      return [this.#decide(held, [...seen, ...watches.volumesOfHandle(held.volumeId)])];
    });
  }

  #decide(held: HeldVolume, volumes: readonly PersistentVolume[]): Whose {
    const { driverName, clusterUid, clock } = this.#options;
    const side: OrphanSide = { driverName, clusterUid, nowMs: clock.nowMs() };
    return { held, decision: decideOrphan(held, volumes, side) };
  }
}

/** A copied disk has the same ids. */
function keyOf({ poolUuid, volumeId }: HeldVolume): string {
  return `${poolUuid}/${volumeId}`;
}
