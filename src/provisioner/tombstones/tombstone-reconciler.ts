import { tombstone as tombstoneLabel } from '../../claims/annotations.ts';
import { logFacts, uidOf } from '../../claims/claim-facts.ts';
import { readTombstone, type Tombstone } from '../../claims/tombstone.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import { isConflict, isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { ConfigMap, PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { poolUuidKey } from '../../model/volume.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { Orphans } from '../orphans/orphans.ts';
import { decideTombstone } from './decide-tombstone.ts';
import { openPools } from './open-pools.ts';

export interface TombstoneReconcilerOptions {
  readonly api: KubeApi;
  readonly ledger: Pick<VolumeLedger, 'rooms' | 'heldOf'>;
  readonly calls: Pick<DriverCalls, 'deleteVolume'>;
  /** what gives the volume to somebody meanwhile, by name or by hand, is waited for */
  readonly orphans: Pick<Orphans, 'alone'>;
  readonly own: OwnSide;
  /** where tombstones lie */
  readonly namespace: string;
  readonly clusterUid: string | undefined;
  readonly log: Log;
}

/**
 * Destroys what was let go while this node was not there, as each volume's record says, and nothing that has no tombstone. Everything
 * that could speak for the data is asked of the API server first; the tombstone goes last, so that a crash leaves it for the next start.
 */
export class TombstoneReconciler {
  readonly #options: TombstoneReconcilerOptions;

  constructor(options: TombstoneReconcilerOptions) {
    this.#options = options;
  }

  /** Names of this node's tombstones. */
  async list(signal: AbortSignal): Promise<readonly string[]> {
    const { api, namespace, own } = this.#options;
    const labelSelector = `${tombstoneLabel}=${own.topologyValue}`;
    const { items } = await api.list('ConfigMap', { namespace, labelSelector }, signal);
    return items.map(({ metadata }) => metadata.name);
  }

  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { api, namespace } = this.#options;
    const object = await lookUp(api, 'ConfigMap', { namespace, name }, signal);
    const stone = object === undefined ? undefined : readTombstone(object);
    if (object === undefined) return { kind: 'done' };
    if (stone === undefined) {
      this.#options.log.warn(
        { configMap: name },
        'a tombstone cannot be read, and nothing is done by it; remove it',
      );
      return { kind: 'done' };
    }
    return this.#options.orphans.alone(stone.volumeId, () => this.#follow(object, stone, signal));
  }

  async #follow(object: ConfigMap, stone: Tombstone, signal: AbortSignal): Promise<Outcome> {
    const decision = await this.#decide(stone, signal);
    const { volumeId, poolUuid, claim } = stone;
    const log = this.#options.log.child({ ...logFacts(claim), volumeId, poolUuid });
    if (decision.kind === 'wait') {
      log.debug({ reason: decision.reason }, 'a tombstone stays');
      return { kind: 'done' };
    }
    if (decision.kind === 'erase') {
      log.warn({ reason: decision.reason }, 'destroying what was let go without this node');
      try {
        await this.#options.calls.deleteVolume(
          { volumeId, volumeContext: { [poolUuidKey]: poolUuid } },
          signal,
        );
      } catch (error) {
        if (signal.aborted) throw error;
        // kubelet may have it mounted still, or it is large
        log.info({ err: messageOf(error) }, 'what was let go is not gone yet; trying again');
        return { kind: 'retry' };
      }
    }
    await this.#drop(object, signal);
    log.warn({ reason: decision.reason, erased: decision.kind === 'erase' }, 'a tombstone is done with');
    return { kind: 'done' };
  }

  async #decide(stone: Tombstone, signal: AbortSignal) {
    const { api, own, ledger, clusterUid } = this.#options;
    const { volumeId, poolUuid } = stone;
    const isOfHandle = ({ spec }: PersistentVolume): boolean => spec.csi?.volumeHandle === volumeId;
    const { items: volumes } = await api.list('PersistentVolume', { keep: isOfHandle }, signal);
    const claim = await lookUp(api, 'PersistentVolumeClaim', stone.claim, signal);
    const held = ledger.heldOf(volumeId).find((each) => each.poolUuid === poolUuid);
    const { driverName, topologyValue } = own;
    const pools = await openPools(ledger);
    return decideTombstone({
      stone,
      driverName,
      topologyValue,
      clusterUid,
      openPools: pools,
      held,
      volumes,
      claim,
    });
  }

  async #drop({ metadata }: ConfigMap, signal: AbortSignal): Promise<void> {
    const { api, namespace } = this.#options;
    try {
      await api.remove('ConfigMap', { namespace, name: metadata.name }, signal, { uid: uidOf({ metadata }) });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}
