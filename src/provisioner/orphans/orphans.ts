import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { HeldVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import type { ClusterView } from '../watches.ts';
import { decideOrphan, type OrphanDecision, type OrphanSide } from './decide-orphan.ts';

/** A volume on this node's disks and whose it is, as far as that can be told now. */
export interface Whose {
  readonly held: HeldVolume;
  readonly decision: OrphanDecision | { readonly kind: 'unknown'; readonly reason: string };
}

export interface OrphansOptions {
  readonly api: Pick<KubeApi, 'list'>;
  readonly watches: Pick<ClusterView, 'volumesOfHandle'>;
  readonly ledger: Pick<VolumeLedger, 'held'>;
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
  /** volume id → the end of the last work on it */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: OrphansOptions) {
    this.#options = options;
  }

  /** Every volume that is held. Never throws for an API server that does not answer: then it is unknown whose they are. */
  async list(signal: AbortSignal): Promise<readonly Whose[]> {
    return this.#judge(() => true, signal);
  }

  /**
   * One volume, asked of the API server now, so that it may be acted upon.
   *
   * @throws StorageError 'volume-not-found'; 'wrong-pool' where two pools have one of this id
   */
  async look(volumeId: string, signal: AbortSignal): Promise<Whose> {
    const [found, other] = await this.#judge((held) => held.volumeId === volumeId, signal);
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

  async #judge(wanted: (held: HeldVolume) => boolean, signal: AbortSignal): Promise<readonly Whose[]> {
    const { ledger, watches } = this.#options;
    const known = ledger.held().filter(wanted);
    const byWatch = known.map((held) => this.#decide(held, watches.volumesOfHandle(held.volumeId)));
    const unsure = new Set(
      byWatch.flatMap(({ decision, held }) => (decision.kind === 'owned' ? [] : held.volumeId)),
    );
    if (unsure.size === 0) return byWatch;
    let live: readonly PersistentVolume[];
    try {
      live = await this.#volumesOf(unsure, signal);
    } catch (error) {
      signal.throwIfAborted();
      const reason = `no PersistentVolume of it is known, and the API server could not be asked: ${messageOf(error)}`;
      return byWatch.map(({ held, decision }) =>
        decision.kind === 'owned' ? { held, decision } : { held, decision: { kind: 'unknown', reason } },
      );
    }
    // as the records are by now: what was deleted or seen to have a PV meanwhile is not told of as it was
    const now = ledger.held().filter(wanted);
    const judged = new Map(byWatch.map((whose) => [keyOf(whose.held), whose]));
    return now.flatMap((held) => {
      const before = judged.get(keyOf(held));
      if (before === undefined) return [];
      if (before.decision.kind === 'owned') return [before];
      const seen = [...live, ...watches.volumesOfHandle(held.volumeId)];
      return [
        this.#decide(
          held,
          seen.filter(({ spec }) => spec.csi?.volumeHandle === held.volumeId),
        ),
      ];
    });
  }

  #decide(held: HeldVolume, volumes: readonly PersistentVolume[]): Whose {
    const { driverName, clusterUid, clock } = this.#options;
    const side: OrphanSide = { driverName, clusterUid, nowMs: clock.nowMs() };
    return { held, decision: decideOrphan(held, volumes, side) };
  }

  async #volumesOf(ids: ReadonlySet<string>, signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    const keep = ({ spec }: PersistentVolume): boolean => ids.has(spec.csi?.volumeHandle ?? '');
    return (await this.#options.api.list('PersistentVolume', { keep }, signal)).items;
  }
}

/** A copied disk has the same ids. */
function keyOf({ poolUuid, volumeId }: HeldVolume): string {
  return `${poolUuid}/${volumeId}`;
}
