import type { PersistentVolumeClaim } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { claimKey, uidOf } from '../../claims/claim-facts.ts';
import { readDataSource } from '../../claims/data-source.ts';
import { namesClaim } from '../../claims/volume-facts.ts';
import { decideOrphan } from '../orphans/decide-orphan.ts';
import type { ClusterView } from '../watches.ts';
import { adoptsByName } from './adopting-class.ts';
import { mayHoldData } from './decide-offer.ts';

const offerWithinMs = 5_000;
const blockedRecheckMs = 2_000;

/** Why a claim is not given an empty volume now, and when to ask again. */
export interface HeldBack {
  readonly reason: string;
  readonly afterMs: number;
}

export interface ClaimGateOptions {
  readonly watches: Pick<ClusterView, 'classOf' | 'volumesNaming' | 'volumesOfHandle' | 'claimByUid'>;
  readonly ledger: Pick<VolumeLedger, 'heldFor'>;
  readonly driverName: string;
  readonly clusterUid: string | undefined;
  readonly clock: Clock;
  /** how long a claim waits for other nodes to offer what they hold under its name; 5 s */
  readonly offerWithinMs?: number;
}

/**
 * Keeps claims whose class adopts by name from getting an empty volume beside the one that they had: while a PV is reserved for them,
 * while this node holds one of their name, and for some seconds after they came, in which the other nodes look at what they hold.
 * A node that is away for longer is not waited for: then the claim starts empty, and what the node holds stays an orphan of that name.
 */
export class ClaimGate {
  readonly #options: ClaimGateOptions;
  /** claim uid → when it was first asked about */
  readonly #since = new Map<string, number>();
  #hasLooked = false;

  constructor(options: ClaimGateOptions) {
    this.#options = options;
  }

  /** What lies on this node's disks was looked at once. */
  open(): void {
    this.#hasLooked = true;
  }

  /** Forgets claims that are over. */
  tidy(): void {
    for (const uid of this.#since.keys()) {
      const claim = this.#options.watches.claimByUid(uid);
      if (claim === undefined || (claim.spec.volumeName ?? '') !== '') this.#since.delete(uid);
    }
  }

  /** undefined: nothing stands against making it a new volume. */
  whyNot(claim: PersistentVolumeClaim): HeldBack | undefined {
    const { watches, clock, driverName } = this.#options;
    if (!adoptsByName(watches.classOf(claim), driverName)) return undefined;
    const reserved = watches.volumesNaming(claim).find((volume) => namesClaim(volume, claim));
    if (reserved !== undefined)
      return blocked(`PersistentVolume ${reserved.metadata.name} is reserved for the claim`);
    if (readDataSource(claim).kind !== 'empty') return undefined;
    if (!this.#hasLooked) return blocked('volumes of its name are being looked for on this node');
    const older = this.#findOlder(claim);
    if (older !== undefined)
      return blocked(`volume ${older} on this node was made for claim ${claimKey(claim.metadata)} before`);
    const nowMs = clock.nowMs();
    const sinceMs = this.#since.get(uidOf(claim)) ?? nowMs;
    this.#since.set(uidOf(claim), sinceMs);
    const restMs = sinceMs + (this.#options.offerWithinMs ?? offerWithinMs) - nowMs;
    if (restMs <= 0) return undefined;
    return { reason: 'other nodes may hold a volume of its name (adopt: by-name)', afterMs: restMs };
  }

  #findOlder(claim: PersistentVolumeClaim): string | undefined {
    const { ledger, watches, clock } = this.#options;
    const { namespace = '', name } = claim.metadata;
    // asked again and again for each claim that waits: never a walk over all that is held
    for (const held of ledger.heldFor({ namespace, name })) {
      if (held.adopt !== 'by-name') continue;
      // its own, in the making, or one that nobody ever had
      if (held.claim?.uid === uidOf(claim) || !mayHoldData(held)) continue;
      const side = { ...this.#options, nowMs: clock.nowMs() };
      if (decideOrphan(held, watches.volumesOfHandle(held.volumeId), side).kind === 'orphan')
        return held.volumeId;
    }
    return undefined;
  }
}

function blocked(reason: string): HeldBack {
  return { reason, afterMs: blockedRecheckMs };
}
