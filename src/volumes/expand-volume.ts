import type { CallContext, ExpandedVolume, ExpandVolumeRequest } from '../model/csi-driver.ts';
import { messageOf, StorageError } from '../model/errors.ts';
import type { NodeExpandRequest } from '../model/node-driver.ts';
import { formatBytes } from '../model/quantity.ts';
import type { CapacityRange, VolumeSpec } from '../model/volume.ts';
import { ceilToBlock } from './space/capacity.ts';
import type { LocatedVolume } from './locate-volume.ts';
import { requireVolumeId } from './published/node-environment.ts';
import { checkRange } from './plan-volume.ts';
import { requirePublished } from './published/require-published.ts';
import { refuseInline, requireServed } from './require-served.ts';
import { catchUp } from './space/catch-up.ts';
import { reserveGrowth } from './space/reserve-growth.ts';
import { backendOf, callError, type VolumeEnvironment } from './volume-environment.ts';

/**
 * CSI ControllerExpandVolume. Runs where the volume is, so everything grows at once: the image or the limit, what is attached, and
 * what is mounted as far as the kernel lets it. Never makes anything smaller: what is large enough is the answer.
 *
 * The space is counted first, then the data grows, and the record follows: killed in between, recovery has the record follow. A failure
 * gives back what the data has not taken.
 * @throws StorageError 'invalid-argument' | 'volume-not-found' | 'in-use' for an inline volume | 'busy' | 'size-out-of-range' |
 *   'out-of-space' where the disk fills up meanwhile | 'unimplemented' | 'pool-unavailable' | 'data-loss'
 */
export async function expandVolume(
  environment: VolumeEnvironment,
  request: ExpandVolumeRequest,
  call: CallContext,
): Promise<ExpandedVolume> {
  const { volumeId, capacityRange, capability } = request;
  requireVolumeId(volumeId);
  if (capacityRange.requiredBytes === 0n && capacityRange.limitBytes === 0n) {
    throw new StorageError('invalid-argument', `volume ${volumeId}: no size is named to grow to; name one`);
  }
  checkRange(volumeId, capacityRange);
  return environment.locks.run(volumeId, 'its growth', async () => {
    try {
      const located = await requireServed(environment, volumeId);
      const { spec } = located.record;
      if (capability !== undefined && capability.access.kind !== spec.accessType) {
        throw new StorageError(
          'invalid-argument',
          `volume ${volumeId} is for ${spec.accessType}, the request says ${capability.access.kind}; correct the PV`,
        );
      }
      const sizeBytes = grownSize(spec, capacityRange);
      if (sizeBytes > spec.sizeBytes) {
        environment.holds.requireFree(volumeId);
        return await grow(environment, located, sizeBytes, call);
      }
      return {
        capacityBytes: spec.sizeBytes,
        nodeExpansionRequired: await isMountBehind(environment, located, call),
      };
    } catch (error) {
      throw callError(error, call, `growing volume ${volumeId}`);
    }
  });
}

/** The size that a request comes to, in whole blocks and never less than the present one. @throws StorageError 'size-out-of-range' */
function grownSize(spec: VolumeSpec, { requiredBytes, limitBytes }: CapacityRange): bigint {
  if (limitBytes !== 0n && limitBytes < spec.sizeBytes) {
    throw new StorageError(
      'size-out-of-range',
      `volume ${spec.id} has ${formatBytes(spec.sizeBytes)} already and may have ${formatBytes(limitBytes)} at most; ` +
        'volumes never shrink, copy the data to a smaller one',
    );
  }
  const wanted = ceilToBlock(requiredBytes);
  if (wanted <= spec.sizeBytes) return spec.sizeBytes;
  if (limitBytes !== 0n && wanted > limitBytes) {
    throw new StorageError(
      'size-out-of-range',
      `volume ${spec.id} would have ${wanted} bytes in whole blocks, the limit is ${limitBytes}; raise the limit`,
    );
  }
  return wanted;
}

async function grow(
  environment: VolumeEnvironment,
  located: LocatedVolume,
  sizeBytes: bigint,
  call: CallContext,
): Promise<ExpandedVolume> {
  const { pool, record } = located;
  const { id } = record.spec;
  const backend = backendOf(environment, record.spec.backend);
  if (backend.grow === undefined) {
    throw new StorageError(
      'unimplemented',
      `volume ${id} is of backend ${backend.name}, whose volumes cannot grow; copy the data to a larger one`,
    );
  }
  const to = { ...record.spec, sizeBytes };
  const takeBack = await reserveGrowth(environment.pools, located, { to, reason: 'size-out-of-range' });
  environment.spaceChanged.tell();
  try {
    const { isMountBehind: isBehind } = await backend.grow(pool.place(id), to, call);
    await environment.reached?.('grown', id);
    await pool.records.change(id, (present) => ({ ...present, spec: to }));
    await environment.reached?.('recorded', id);
    return { capacityBytes: sizeBytes, nodeExpansionRequired: isBehind };
  } catch (error) {
    await noteSize(environment, located);
    throw error;
  } finally {
    takeBack();
    environment.spaceChanged.tell();
  }
}

/** What was given before the failure is not taken back, so it counts. */
async function noteSize(environment: VolumeEnvironment, { pool, record }: LocatedVolume): Promise<void> {
  const { id } = record.spec;
  try {
    await catchUp(pool, record, backendOf(environment, record.spec.backend));
  } catch (error) {
    environment.log.error({ volumeId: id, error: messageOf(error) }, 'record does not say what has grown');
  }
}

/** Of a volume that has its size already: an earlier answer may have been lost. Nothing changes but what is mounted. */
async function isMountBehind(
  environment: VolumeEnvironment,
  { pool, record: { spec } }: LocatedVolume,
  call: CallContext,
): Promise<boolean> {
  const live = await environment.publications.liveAt(spec.id);
  if (live.length === 0) return false;
  const grown = await backendOf(environment, spec.backend).grow?.(pool.place(spec.id), spec, call);
  return grown?.isMountBehind ?? false;
}

/**
 * CSI NodeExpandVolume: the file system mounted at the path takes its whole volume, which ControllerExpandVolume has grown before.
 *
 * @returns the volume's size
 * @throws StorageError 'invalid-argument' | 'volume-not-found' | 'path-not-found' | 'in-use' | 'busy' | 'size-out-of-range' |
 *   'cannot-grow-now'
 */
export async function expandMounted(
  environment: VolumeEnvironment,
  request: NodeExpandRequest,
  call: CallContext,
): Promise<bigint> {
  const { volumeId, volumePath, requiredBytes } = request;
  const doing = `growing volume ${volumeId} at ${volumePath}`;
  await requirePublished(environment, request);
  return environment.locks.run(volumeId, 'its growth', async () => {
    try {
      const { pool, record } = await requirePublished(environment, request);
      refuseInline(record);
      const { spec } = record;
      if (requiredBytes > spec.sizeBytes) {
        throw new StorageError(
          'size-out-of-range',
          `volume ${volumeId} has ${formatBytes(spec.sizeBytes)}, ${formatBytes(requiredBytes)} are asked; ` +
            'the volume grows first, by ControllerExpandVolume',
        );
      }
      await backendOf(environment, spec.backend).growMounted?.(pool.place(spec.id), spec, volumePath, call);
      return spec.sizeBytes;
    } catch (error) {
      throw callError(error, call, doing);
    }
  });
}
