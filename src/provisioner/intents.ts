import type { Clock } from '../model/clock.ts';
import type { CreateVolumeRequest } from '../model/csi-driver.ts';
import type { UnacknowledgedVolume, VolumeLedger } from '../model/volume-ledger.ts';
import { poolUuidKey, type ClaimRef } from '../model/volume.ts';
import { volumeNameFor } from '../claims/claim-facts.ts';
import type { VolumeIdentity } from '../claims/volume-facts.ts';

/** A record younger than this may be another process's that is still at work. Not so at start: then it is a dead one's. */
export const graceMs = 60_000;

/** A volume that was begun for a claim and has no PV that we know of. */
export interface Intent {
  readonly claim: ClaimRef;
  /** what the driver was asked, where this process asked it */
  request?: CreateVolumeRequest;
  /** what the driver made, as soon as that is known */
  volume?: VolumeIdentity;
  /** failed attempts to save the PV */
  saveFailures: number;
  /** when a POST of the PV was last left unanswered: it may still take effect */
  unansweredAtMs?: number;
}

/**
 * Claims with something begun, by uid. Remembered in memory for the claims of this process; the driver's ledger has them across
 * restarts, so nothing depends on the memory.
 */
export class Intents {
  readonly #intents = new Map<string, Intent>();
  readonly #ledger: Pick<VolumeLedger, 'unacknowledged'> | undefined;
  readonly #clusterUid: string | undefined;
  readonly #clock: Clock;

  constructor(options: {
    readonly ledger?: Pick<VolumeLedger, 'unacknowledged'> | undefined;
    readonly clusterUid?: string | undefined;
    readonly clock: Clock;
  }) {
    this.#ledger = options.ledger;
    this.#clusterUid = options.clusterUid;
    this.#clock = options.clock;
  }

  get(claimUid: string): Intent | undefined {
    return this.#intents.get(claimUid);
  }

  has(claimUid: string): boolean {
    return this.#intents.has(claimUid);
  }

  /** Called before the driver is asked: from then on the claim is carried through. */
  begin(claim: ClaimRef, request: CreateVolumeRequest): Intent {
    const intent = this.#intents.get(claim.uid) ?? { claim, saveFailures: 0 };
    intent.request = request;
    this.#intents.set(claim.uid, intent);
    return intent;
  }

  /** The PV exists, or nothing is left of the volume. */
  end(claimUid: string): void {
    this.#intents.delete(claimUid);
  }

  /** What the driver's records say of this claim's volume; undefined: it has none without a PV, or tells nobody. */
  recorded(claimUid: string): VolumeIdentity | undefined {
    const record = this.#ledger
      ?.unacknowledged()
      .find((volume) => this.#isOurs(volume) && volume.claim.uid === claimUid);
    return record === undefined ? undefined : identityOf(record);
  }

  /**
   * Takes over what the records know and this process does not: at start what a crash left, later what slipped through.
   *
   * @returns uids of the claims to look at
   */
  takeOver(isStart: boolean): readonly string[] {
    const taken: string[] = [];
    for (const record of this.#ledger?.unacknowledged() ?? []) {
      if (!this.#isOurs(record) || this.#intents.has(record.claim.uid)) continue;
      if (this.#clusterUid === undefined || record.clusterUid !== this.#clusterUid) continue;
      if (!isStart && this.#clock.nowMs() - record.createdAtMs < graceMs) continue;
      this.#intents.set(record.claim.uid, {
        claim: record.claim,
        volume: identityOf(record),
        saveFailures: 0,
      });
      taken.push(record.claim.uid);
    }
    return taken;
  }

  /** Records that tell no claim, or have a name that this loop would not have given, are somebody else's. */
  #isOurs(record: UnacknowledgedVolume): record is UnacknowledgedVolume & { readonly claim: ClaimRef } {
    return record.claim !== undefined && record.name === volumeNameFor(record.claim.uid);
  }
}

/** The identity of a volume that the driver just made. */
export function identityOfContext(
  volumeId: string,
  context: Readonly<Record<string, string>>,
): VolumeIdentity {
  const poolUuid = context[poolUuidKey];
  return poolUuid === undefined ? { volumeId } : { volumeId, poolUuid };
}

function identityOf(record: UnacknowledgedVolume): VolumeIdentity {
  return { volumeId: record.volumeId, poolUuid: record.poolUuid };
}
