import type { Backend, CopySource } from '../../backends/backend.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { ContentSource, VolumeSpec } from '../../model/volume.ts';
import { describeSource } from '../compare-volume.ts';
import type { CopyJob } from './copy-jobs.ts';
import { holdSource, type HeldSource } from './hold-source.ts';
import { makeOrUndo, makeVolume, reserveVolume, undoMaking, type Fill } from '../make-volume.ts';
import { candidateForCopy } from './place-copy.ts';
import { choosePlacement, readDisks } from '../place-volume.ts';
import type { WantedVolume } from '../plan-volume.ts';
import type { Pool } from '../pools/pool.ts';
import type { VolumeRecord } from '../records/record.ts';
import { backendOf, type VolumeEnvironment } from '../volume-environment.ts';

/** Every step of one copy knows these. */
interface Copy {
  readonly wanted: WantedVolume;
  readonly source: HeldSource;
  readonly backend: Backend & { readonly createFrom: NonNullable<Backend['createFrom']> };
  /** unset: not known */
  readonly writtenBytes: bigint | undefined;
  readonly sharesBlocks: boolean;
  /** also where that is not promised: a thin copy of what is thick shares, too, where the pool can */
  readonly mayShare: boolean;
}

/**
 * Makes a volume from a snapshot or another volume, in the source's pool. Where blocks can be shared, at once; else by a job that
 * outlives the call. The source is neither deleted nor grown meanwhile. The new volume's lock is the caller's to hold.
 *
 * @returns the volume's record, or the job that is to be joined
 * @throws StorageError as `holdSource`, `candidateForCopy`, `choosePlacement` and `makeVolume`; 'not-consistent'
 */
export async function copyVolume(
  environment: VolumeEnvironment,
  wanted: WantedVolume,
  content: ContentSource,
  call: CallContext,
): Promise<{ readonly record: VolumeRecord; readonly pool: Pool } | CopyJob> {
  const reading = (): string =>
    `to volume ${wanted.name}, ${environment.copies.get(wanted.id)?.progress ?? 'at once'}`;
  // its lock is held already, for as long as the caller would wait for it
  if (content.kind === 'volume' && content.volumeId === wanted.id) {
    throw new StorageError(
      'source-not-found',
      `volume ${wanted.name} is asked as a copy of itself; name another source`,
    );
  }
  const source = await holdSource(environment, content, reading, call);
  let isHandedOver = false;
  try {
    const candidate = candidateForCopy(wanted, source);
    const backend = backendOf(environment, source.spec.backend);
    if (!canCopy(backend)) {
      throw new StorageError(
        'unsupported-capability',
        `${backend.name} volumes cannot be copied; ask for an empty volume and copy the files with a pod`,
      );
    }
    const asThin: CopySource = { ...source, spec: { ...source.spec, provisioning: 'thin' } };
    const [canShare, mayShare, writtenBytes, disks] = await Promise.all([
      backend.sharesBlocks?.(source) ?? false,
      backend.sharesBlocks?.(asThin) ?? false,
      backend.writtenBytes?.(source.place, source.spec),
      readDisks([candidate]),
    ]);
    // what is thick has blocks of its own
    const isThin = wanted.parameters.provisioning === 'thin';
    const sharesBlocks = canShare && isThin;
    const copy: Copy = { wanted, source, backend, writtenBytes, sharesBlocks, mayShare: mayShare && isThin };
    // From here to the reservation nothing may wait: what was counted free must still be.
    const placement = choosePlacement(wanted, [candidate], disks, environment.pools, {
      source: source.spec,
      upFrontBytes: () => (sharesBlocks ? 0n : (writtenBytes ?? 0n)),
    });
    const intent = reserveVolume(environment, wanted, placement);
    const { pool } = placement;
    if (sharesBlocks) {
      return { pool, record: await makeOrUndo(environment, pool, intent, fillOf(copy), call) };
    }
    const job = beginJob(environment, copy, pool, intent);
    isHandedOver = true;
    return job;
  } finally {
    if (!isHandedOver) source.letGo();
  }
}

function canCopy(backend: Backend): backend is Copy['backend'] {
  return backend.createFrom !== undefined;
}

/** Takes over the hold on the source. */
function beginJob(environment: VolumeEnvironment, copy: Copy, pool: Pool, intent: VolumeRecord): CopyJob {
  const { wanted, source } = copy;
  return environment.copies.begin(wanted.id, {
    what: `volume ${wanted.name} of ${describeSource(source.content)}`,
    totalBytes: copy.writtenBytes ?? source.spec.sizeBytes,
    run: async (turn) => {
      const fill = fillOf(copy, (copiedBytes) => {
        turn.progress(copiedBytes);
        // what is thick was allocated before its first byte was copied, and is missing from what the disk has free since then
        pool.allocating.delete(wanted.id);
      });
      await makeVolume(environment, pool, intent, fill, { signal: turn.signal });
    },
    // also where it was cancelled before its turn came
    undo: (failure) => undoMaking(environment, pool, intent, failure),
    ended: () => {
      source.letGo();
      environment.spaceChanged.tell();
    },
  });
}

function fillOf(copy: Copy, onProgress?: (copiedBytes: bigint) => void): Fill {
  const { wanted, source, backend } = copy;
  const allowsLoose = wanted.parameters.consistency === 'accept';
  return async (place, spec, call, mayBegin) => {
    const wish = { allowsLoose, mayBegin, ...(onProgress === undefined ? {} : { onProgress }) };
    const { consistency } = await backend.createFrom(source, place, spec, wish, call);
    if (copy.mayShare) noteSharing(copy, spec);
    return { consistency };
  };
}

/** From now on the first write to each of these blocks takes a new one, on either side. */
function noteSharing({ source, writtenBytes }: Copy, { id }: VolumeSpec): void {
  const { records } = source.pool;
  const sharedBytes = writtenBytes ?? source.spec.sizeBytes;
  records.noteShared(id, sharedBytes);
  if (source.content.kind === 'snapshot') return;
  const before = records.sharedBytes(source.spec.id);
  if (sharedBytes > before) records.noteShared(source.spec.id, sharedBytes);
}
