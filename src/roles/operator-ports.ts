import type { Adoption, AdoptionRequest, Forgetting, OperatorPorts, Removal } from '../operator/report.ts';
import { listVolumes } from '../operator/list-volumes.ts';
import { planGc, type JudgedVolume, type Judgement } from '../operator/plan-gc.ts';
import { claimKey } from '../claims/claim-facts.ts';
import type { Clock } from '../model/clock.ts';
import type { CallContext, DeleteVolumeRequest } from '../model/csi-driver.ts';
import type { DiskInventory, Stray } from '../model/disk-inventory.ts';
import { isReason, messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { formatBytes } from '../model/quantity.ts';
import { CsiError } from '../model/status-code.ts';
import { poolUuidKey } from '../model/volume.ts';
import type { ArchivedVolume, ForgottenDisk, HeldVolume, PoolTrouble } from '../model/volume-ledger.ts';
import type { AdoptPath } from '../provisioner/orphans/adopt-by-hand.ts';
import { howToFree, howToLetGo } from '../provisioner/orphans/how-to-free.ts';
import type { Orphans, Whose } from '../provisioner/orphans/orphans.ts';
import type { Provisioner } from '../provisioner/provisioner.ts';

/** How long a person waits for bytes to go; after it they go on going. */
const patienceMs = 20_000;

type Unowned = NonNullable<Provisioner['unowned']>;

/** What the commands need of a node's process. */
export interface OperatorParts {
  readonly nodeName: string;
  readonly disk: {
    held(): readonly HeldVolume[];
    archived(): readonly ArchivedVolume[];
    poolTroubles(): readonly PoolTrouble[];
    deleteVolume(request: DeleteVolumeRequest, call: CallContext): Promise<void>;
    removeArchived(archiveId: string, call: CallContext): Promise<void>;
    forgetDisk(
      volumeId: string,
      requireUnowned: (poolUuid: string) => Promise<void>,
      call: CallContext,
    ): Promise<ForgottenDisk>;
  };
  readonly inventory: DiskInventory;
  /** `none`: no API server is configured; undefined: the provisioner has not reached it yet */
  readonly unowned: () => Unowned | 'none' | undefined;
  readonly adoptPath: AdoptPath;
  readonly clock: Clock;
  readonly log: Log;
}

const noApi =
  'no API server is configured (--no-kube), so nobody can say which volumes have a PersistentVolume';
const notYet = 'the API server was not reached yet since this process started';

/** The operator's verbs over a node's disks and what its provisioner knows of the cluster. */
export function operatorPorts(parts: OperatorParts): OperatorPorts {
  const { nodeName: node, disk, inventory } = parts;
  return {
    volumes: async (signal) => {
      const [volumes, uses] = await Promise.all([judge(parts, signal), inventory.uses()]);
      return { node, volumes: listVolumes(volumes, uses), warnings: warningsOf(parts) };
    },
    plan: async (signal) => {
      const untold: string[] = [];
      const noStrays = (error: unknown): readonly Stray[] => {
        untold.push(`what is mounted and attached could not be looked at: ${messageOf(error)}`);
        return [];
      };
      const [volumes, strays, litter] = await Promise.all([
        judge(parts, signal),
        inventory.strays().catch(noStrays),
        inventory.litter(),
      ]);
      const findings = planGc({
        volumes,
        doomed: inventory.doomed(),
        broken: inventory.broken(),
        archived: disk.archived(),
        forgotten: inventory.forgotten(),
        strays,
        litter,
      });
      return { node, findings, warnings: [...warningsOf(parts), ...untold] };
    },
    remove: (volumeId, signal) => remove(parts, volumeId, signal),
    removeArchived: (archiveId, signal) => removeArchived(parts, archiveId, signal),
    forget: (volumeId, signal) => forget(parts, volumeId, signal),
    adopt: (request, signal) => adopt(parts, request, signal),
  };
}

/** Whose each volume is. Nothing is told an orphan while the API server does not answer. */
async function judge(parts: OperatorParts, signal: AbortSignal): Promise<readonly JudgedVolume[]> {
  const unowned = parts.unowned();
  if (unowned === 'none') return parts.disk.held().map((held) => ({ held, judgement: undefined }));
  if (unowned === undefined)
    return parts.disk.held().map((held) => ({ held, judgement: { kind: 'unknown', reason: notYet } }));
  return (await unowned.orphans.list(signal)).map((whose) => ({
    held: whose.held,
    judgement: judgementOf(whose),
  }));
}

function judgementOf({ decision }: Whose): Judgement {
  if (decision.kind !== 'owned') return decision;
  const { volume, reason } = decision;
  const ref = volume.spec.claimRef ?? undefined;
  return {
    kind: 'owned',
    persistentVolume: volume.metadata.name,
    phase:
      volume.metadata.deletionTimestamp === undefined ? (volume.status?.phase ?? 'Pending') : 'Terminating',
    claim: ref === undefined ? '' : claimKey(ref),
    reason,
  };
}

function warningsOf({ disk, unowned }: OperatorParts): string[] {
  const pools = disk
    .poolTroubles()
    .map(({ name, path, why }) => `pool ${name} (${path}) is not open, what is in it is not told of: ${why}`);
  return unowned() === 'none' ? [noApi, ...pools] : pools;
}

/** Looks once more whether anything stands for the volume, then deletes it as its record says. */
async function remove(parts: OperatorParts, volumeId: string, signal: AbortSignal): Promise<Removal> {
  const { disk, log } = parts;
  const { orphans } = reached(parts, `volume ${volumeId} is kept`);
  return orphans.alone(volumeId, async () => {
    const going = goingAlready(parts, volumeId);
    if (going !== undefined) return going;
    const { held, decision } = await lookAt(parts, orphans, volumeId, signal);
    if (decision.kind === 'unknown')
      throw new CsiError('UNAVAILABLE', `volume ${volumeId} is kept: ${decision.reason}`);
    if (decision.kind !== 'orphan') {
      const first = decision.kind === 'owned' ? howToFree(decision.volume) : undefined;
      const todo = first === undefined ? '' : `; ${first}, then repeat`;
      throw new CsiError('FAILED_PRECONDITION', `volume ${volumeId} is no orphan: ${decision.reason}${todo}`);
    }
    log.warn(
      { volumeId, pool: held.poolName, why: decision.reason },
      'deleting an orphan, as a person asked',
    );
    const isGone = await patiently(parts, signal, (call) =>
      disk.deleteVolume({ volumeId, volumeContext: { [poolUuidKey]: held.poolUuid } }, call),
    );
    const size = formatBytes(held.sizeBytes);
    const archived = disk
      .archived()
      .find((each) => each.volumeId === volumeId && each.poolUuid === held.poolUuid);
    if (archived !== undefined) {
      const message = `volume ${volumeId} (${size}) lies in ${archived.path} now, as its class's onDelete: archive wants; loam gc --archive ${archived.archiveId} removes it for good`;
      return { volumeId, outcome: 'archived', message };
    }
    return removalOf(volumeId, `volume ${volumeId} (${size})`, isGone);
  });
}

/** Gives up a volume whose disk is away; what is in the way on the disk's side is told before what is in the API. */
async function forget(parts: OperatorParts, volumeId: string, signal: AbortSignal): Promise<Forgetting> {
  const { disk, log } = parts;
  const { orphans } = reached(parts, `volume ${volumeId} is not forgotten`);
  return orphans.alone(volumeId, async () => {
    const requireUnowned = async (poolUuid: string): Promise<void> => {
      const owner = await orphans.owner(volumeId, poolUuid, signal).catch((error: unknown) => {
        const why = `whether a PersistentVolume stands for it could not be asked: ${messageOf(error)}`;
        throw new CsiError('UNAVAILABLE', `volume ${volumeId} is not forgotten: ${why}`);
      });
      if (owner !== undefined) {
        const { name } = owner.metadata;
        const message = `volume ${volumeId} is not forgotten: PersistentVolume ${name} stands for it; ${howToLetGo(owner)}, then repeat`;
        throw new CsiError('FAILED_PRECONDITION', message);
      }
      log.warn({ volumeId, poolUuid }, 'forgetting a volume whose disk is away, as a person asked');
    };
    const { type, uuid, entry } = await disk.forgetDisk(volumeId, requireUnowned, { signal });
    const message =
      `volume ${volumeId} is forgotten; nothing was erased. Its disk, the ${type} ${uuid} of mount point ${entry}, ` +
      'is offered to nobody if it turns up again: loam adopt <its path> takes it back, mkfs makes another one of it';
    return { volumeId, message };
  });
}

async function adopt(parts: OperatorParts, request: AdoptionRequest, signal: AbortSignal): Promise<Adoption> {
  const { adoption } = reached(parts, 'nothing is adopted');
  parts.log.info({ request }, 'adopting, as a person asked');
  try {
    return await adoption.adopt(request, parts.adoptPath, { signal });
  } catch (error) {
    const isDoomed = parts.inventory.doomed().some(({ id }) => id === request.volumeId);
    if (!isDoomed || !isReason(error, 'volume-not-found')) throw error;
    const message = `volume ${request.volumeId ?? ''} was deleted and is in the trash, from which nothing comes back; loam gc says what becomes of it`;
    throw new CsiError('FAILED_PRECONDITION', message);
  }
}

/** @throws CsiError UNAVAILABLE with what follows from it */
function reached({ unowned }: OperatorParts, so: string): Unowned {
  const now = unowned();
  if (now === 'none' || now === undefined)
    throw new CsiError('UNAVAILABLE', `${so}: ${now === 'none' ? noApi : notYet}`);
  return now;
}

async function lookAt(
  { disk, inventory }: OperatorParts,
  orphans: Orphans,
  volumeId: string,
  signal: AbortSignal,
): Promise<Whose> {
  try {
    return await orphans.look(volumeId, signal);
  } catch (error) {
    if (!isReason(error, 'volume-not-found')) throw error;
    const refuse = (why: string): CsiError =>
      new CsiError('FAILED_PRECONDITION', `volume ${volumeId} ${why}`);
    const broken = inventory.broken().find(({ id }) => id === volumeId);
    if (broken !== undefined) throw refuse(`has a record that cannot be read, and is kept: ${broken.why}`);
    const archived = disk.archived().find((each) => each.volumeId === volumeId);
    if (archived !== undefined)
      throw refuse(`lies in the archive; loam gc --archive ${archived.archiveId} removes it for good`);
    throw error;
  }
}

async function removeArchived(
  parts: OperatorParts,
  archiveId: string,
  signal: AbortSignal,
): Promise<Removal> {
  const { disk, log } = parts;
  const found = disk.archived().find((each) => each.archiveId === archiveId);
  const going = found === undefined ? goingAlready(parts, archiveId) : undefined;
  if (going !== undefined) return going;
  if (found !== undefined) log.warn({ archiveId }, 'removing an archived volume, as a person asked');
  const isGone = await patiently(parts, signal, (call) => disk.removeArchived(archiveId, call));
  const size = found === undefined ? '' : ` (${formatBytes(found.takenBytes)})`;
  return removalOf(found?.volumeId ?? archiveId, `archived volume ${archiveId}${size}`, isGone);
}

/** Where an earlier request has moved it to the trash, and its answer was lost: a repeat is answered as that one was. */
function goingAlready({ disk, inventory }: OperatorParts, id: string): Removal | undefined {
  const isThere = disk.held().some(({ volumeId }) => volumeId === id);
  if (isThere || inventory.broken().some((each) => each.id === id)) return undefined;
  const doomed = inventory.doomed().find((each) => each.id === id);
  if (doomed === undefined) return undefined;
  if (doomed.failure === undefined) return removalOf(id, `volume ${id}`, false);
  const how = doomed.stuck === undefined ? 'goes by itself' : 'does not go by itself';
  const message = `volume ${id} is in the trash already; it ${how}, and loam gc says what helps; the last attempt failed: ${doomed.failure}`;
  throw new CsiError('FAILED_PRECONDITION', message);
}

/** @returns whether its last byte is gone; false: it is in the trash, where nothing brings it back from */
async function patiently(
  { clock }: OperatorParts,
  signal: AbortSignal,
  work: (call: CallContext) => Promise<void>,
): Promise<boolean> {
  try {
    await work({
      signal: AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]),
      deadlineMs: clock.nowMs() + patienceMs,
    });
    return true;
  } catch (error) {
    if (isReason(error, 'still-removing')) return false;
    throw error;
  }
}

function removalOf(volumeId: string, what: string, isGone: boolean): Removal {
  return isGone
    ? { volumeId, outcome: 'removed', message: `${what} is gone, to its last byte` }
    : { volumeId, outcome: 'removing', message: `${what} is in the trash; its bytes go in the background` };
}
