import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { AdoptedVolume } from '../../model/volume-ledger.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import type { ClaimRef } from '../../model/volume.ts';
import { describeOwner } from '../inline/inline-owner.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import type { VolumeRecord } from '../records/record.ts';
import { callError, type VolumeEnvironment } from '../volume-environment.ts';
import { findInArchive, takeFromArchive } from './take-from-archive.ts';
import { describeAdopted } from './describe-adopted.ts';
import { notHere } from '../not-here.ts';

/** Whose a volume is to be from now on; what is not said stays as the record has it. */
export interface NewOwner {
  readonly clusterUid?: string;
  readonly claim?: ClaimRef;
  readonly className?: string;
}

/**
 * Takes a volume that has no PV into this cluster: its record says so, durably, and it counts as acknowledged. One that lies in an
 * archive comes back from there first. That nobody else has it is the caller's to make sure. Idempotent; killed anywhere, a repeat
 * ends in the same state.
 *
 * @param volumeId or the name of its folder in the archive
 * @throws StorageError 'volume-not-found' | 'busy' | 'in-use' (a pod's inline volume) | 'pool-unavailable' | 'data-loss' |
 *   'invalid-argument' | 'already-exists-different' (of archived ones)
 */
export async function adoptVolume(
  environment: VolumeEnvironment,
  volumeId: string,
  owner: NewOwner,
  call: CallContext,
): Promise<AdoptedVolume> {
  const doing = `adopting volume ${volumeId}`;
  try {
    const archived = known(environment, volumeId)
      ? undefined
      : findInArchive(environment.pools.open(), volumeId);
    const id = archived?.volumeId ?? volumeId;
    if (!isVolumeId(id)) throw notHere(volumeId);
    return await environment.locks.runInTurn(id, 'its adoption', call.signal, async () => {
      if (archived !== undefined) await takeFromArchive(environment, archived);
      const found = await environment.pools.find(id);
      if (found === undefined) throw notHere(volumeId);
      return own(environment, found, owner);
    });
  } catch (error) {
    throw callError(error, call, doing);
  }
}

function known({ pools }: VolumeEnvironment, volumeId: string): boolean {
  return pools.locate(volumeId) !== undefined;
}

/** Writes down whose a volume is; its lock is the caller's to hold. */
export async function own(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  owner: NewOwner,
): Promise<AdoptedVolume> {
  const { id } = record.spec;
  if (record.inline !== undefined) {
    throw new StorageError(
      'in-use',
      `volume ${id} belongs to ${describeOwner(record.inline)}; nobody else gets it`,
    );
  }
  if (record.state === 'creating')
    throw new StorageError('busy', `volume ${id} is still being made; repeat when it is there`);
  const wanted = ownedBy(record, owner);
  if (differs(record, wanted)) {
    await pool.claimLinks.remove(record);
    await pool.records.change(id, (current) => ownedBy(current, owner));
    await environment.reached?.('recorded', id);
  }
  await pool.claimLinks.add(wanted);
  return describeAdopted(pool, pool.records.get(id) ?? wanted);
}

function ownedBy(record: VolumeRecord, { clusterUid, claim, className }: NewOwner): VolumeRecord {
  return {
    ...record,
    ...(clusterUid === undefined ? {} : { clusterUid }),
    ...(claim === undefined ? {} : { claim }),
    ...(className === undefined ? {} : { className }),
    acknowledged: true,
  };
}

function differs(before: VolumeRecord, after: VolumeRecord): boolean {
  return (
    before.acknowledged !== after.acknowledged ||
    before.clusterUid !== after.clusterUid ||
    before.className !== after.className ||
    before.claim?.namespace !== after.claim?.namespace ||
    before.claim?.name !== after.claim?.name ||
    before.claim?.uid !== after.claim?.uid
  );
}
