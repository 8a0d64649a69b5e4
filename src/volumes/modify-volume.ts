import type { CallContext, ModifyVolumeRequest } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { parseMutableParameters, withChanges, type MutableParameters } from '../model/mutable-parameters.ts';
import type { VolumeSpec } from '../model/volume.ts';
import { refuseArchive } from './archive/archive-volume.ts';
import { chooseBackend } from './choose-backend.ts';
import type { LocatedVolume } from './locate-volume.ts';
import { requireVolumeId } from './published/node-environment.ts';
import type { VolumeRecord } from './records/record.ts';
import { requireServed } from './require-served.ts';
import { reserveGrowth } from './space/reserve-growth.ts';
import { backendOf, callError, type VolumeEnvironment } from './volume-environment.ts';

type Modified = Required<MutableParameters>;

/**
 * CSI ControllerModifyVolume: what can take effect does, now or when the volume is deleted, and everything else is refused by name.
 * A volume is still the one that its class asked for: what a CreateVolume of the same name is compared with does not change.
 *
 * The data is reshaped first and the record follows; killed in between, a repeat ends right.
 * @throws StorageError 'invalid-argument' | 'invalid-parameter' | 'limit-not-enforced' | 'unsupported-capability' |
 *   'volume-not-found' | 'in-use' for an inline volume | 'busy' | 'out-of-space' | 'pool-unavailable' | 'data-loss'
 */
export async function modifyVolume(
  environment: VolumeEnvironment,
  { volumeId, mutableParameters }: ModifyVolumeRequest,
  call: CallContext,
): Promise<void> {
  requireVolumeId(volumeId);
  const changes = parseMutableParameters(mutableParameters);
  await environment.locks.run(volumeId, 'its modification', async () => {
    try {
      const located = await requireServed(environment, volumeId);
      const { record } = located;
      const to = withChanges(presentOf(record), changes);
      refuse(located, to);
      const spec = { ...record.spec, limit: to.limit, provisioning: to.provisioning };
      if (isReshaped(record.spec, spec)) await reshape(environment, located, spec, call);
      if (isChanged(record, to)) {
        const { onDelete, scrub } = to;
        await located.pool.records.change(record.spec.id, (present) => ({
          ...present,
          spec,
          onDelete,
          scrub,
        }));
        await environment.reached?.('recorded', volumeId);
      }
    } catch (error) {
      throw callError(error, call, `modifying volume ${volumeId}`);
    }
  });
}

function presentOf({ spec, onDelete, scrub }: VolumeRecord): Modified {
  return { limit: spec.limit, provisioning: spec.provisioning, onDelete, scrub };
}

function isReshaped(from: VolumeSpec, to: VolumeSpec): boolean {
  return from.limit !== to.limit || from.provisioning !== to.provisioning;
}

function isChanged(record: VolumeRecord, to: Modified): boolean {
  const present = presentOf(record);
  return (Object.keys(present) as (keyof Modified)[]).some((key) => present[key] !== to[key]);
}

/** Only what changes is asked after: what the volume has, it may keep. @throws StorageError */
function refuse({ pool, record }: LocatedVolume, to: Modified): void {
  const { spec } = record;
  const present = presentOf(record);
  if (spec.disk !== undefined) {
    // its limit is refused where it would be changed
    refuseArchive(spec, to.onDelete);
    return;
  }
  const isErasedAnew =
    to.onDelete === 'scrub' && (present.onDelete !== 'scrub' || present.scrub !== to.scrub);
  const wish = {
    backend: spec.backend,
    accessType: 'mount',
    limit: to.limit === present.limit ? 'advisory' : to.limit,
    provisioning: to.provisioning === present.provisioning ? 'thin' : to.provisioning,
    ...(isErasedAnew ? { scrub: to.scrub } : {}),
  } as const;
  const choice = chooseBackend(wish, pool.offers, pool);
  if (choice.kind === 'chosen') return;
  const { reason, text } = choice.refusal;
  throw new StorageError(
    // the claim's author can do nothing about the state that the volume is in
    reason === 'cannot-erase' ? 'invalid-parameter' : reason,
    `volume ${spec.id} in pool ${pool.name} cannot be modified so: ${text}`,
  );
}

async function reshape(
  environment: VolumeEnvironment,
  located: LocatedVolume,
  to: VolumeSpec,
  call: CallContext,
): Promise<void> {
  const { pool, record } = located;
  const { spec } = record;
  environment.holds.requireFree(spec.id);
  const backend = backendOf(environment, spec.backend);
  if (backend.reshape === undefined) {
    throw new StorageError(
      'invalid-parameter',
      `volume ${spec.id} is of backend ${backend.name}, whose limit and provisioning are decided when a volume is made; ` +
        'what can be modified is onDelete, scrub',
    );
  }
  const place = pool.place(spec.id);
  const takeBack =
    to.provisioning === spec.provisioning
      ? () => {}
      : await reserveGrowth(environment.pools, located, {
          to,
          writtenBytes:
            ((await backend.writtenBytes?.(place, spec)) ?? 0n) - pool.records.sharedBytes(spec.id),
          reason: 'out-of-space',
        });
  environment.spaceChanged.tell();
  try {
    await backend.reshape(place, spec, to, call);
    await environment.reached?.('reshaped', spec.id);
  } finally {
    takeBack();
    environment.spaceChanged.tell();
  }
}
