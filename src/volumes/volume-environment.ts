import type { Backend } from '../backends/backend.ts';
import type { Clock } from '../model/clock.ts';
import type { CallContext } from '../model/csi-driver.ts';
import { isReason, StorageError } from '../model/errors.ts';
import type { Listeners } from '../model/listeners.ts';
import type { Log } from '../model/log.ts';
import type { Segments } from '../model/topology.ts';
import type { BackendName } from '../model/volume.ts';
import type { CopyJobs } from './copies/copy-jobs.ts';
import { diskError } from './disk-error.ts';
import type { Holds } from './copies/holds.ts';
import type { KeyedLock } from './keyed-lock.ts';
import type { Pools } from './pools/open-pools.ts';
import type { Publications } from './published/publications.ts';

/** Durable steps, in order; a process may die after each. */
export type Step =
  | 'reserved'
  | 'intent'
  | 'data'
  | 'commit'
  | 'released'
  | 'taken'
  | 'archiving'
  | 'archived'
  // of a mounted disk that is given up
  | 'forgotten'
  // of a volume that is emptied for its next claim
  | 'recycling'
  | 'gathered'
  | 'emptied'
  | 'remade'
  | 'renewed'
  // of a growth or another change
  | 'grown'
  | 'reshaped'
  | 'recorded'
  // of inline volumes only
  | 'staged'
  | 'published'
  | 'unpublished'
  | 'unstaged';

/** What the use cases work with; one per process, shared by the controller's half and the node's. */
export interface VolumeEnvironment {
  readonly pools: Pools;
  readonly backends: readonly Backend[];
  readonly publications: Publications;
  /** by volume or snapshot id; held by every call that changes one, of either half */
  readonly locks: KeyedLock;
  /** what copies read, by volume or snapshot id */
  readonly holds: Holds;
  /** full copies under way, by the id of what they make */
  readonly copies: CopyJobs;
  /** ids of volumes that kubelet has let go: nothing of them is mounted or attached any more */
  readonly released: Listeners<string>;
  /** whatever may change what GetCapacity answers */
  readonly spaceChanged: Listeners<void>;
  readonly topology: Segments;
  readonly clock: Clock;
  readonly log: Log;
  /** told after each step; a test that never answers has killed the process there */
  readonly reached?: (step: Step, volumeId: string) => Promise<void>;
}

export function backendOf(environment: Pick<VolumeEnvironment, 'backends'>, name: BackendName): Backend {
  const backend = environment.backends.find((candidate) => candidate.name === name);
  if (backend === undefined) {
    throw new StorageError(
      'host-failure',
      `backend ${name} is not built into this version; use the one that made the volume`,
    );
  }
  return backend;
}

/**
 * What a failure inside a call means: the disk's word, unless the caller went away meanwhile, which is what made
 * commands and waits fail.
 */
export function callError(error: unknown, call: CallContext, doing: string): StorageError {
  const failure = diskError(error, doing);
  if (!call.signal.aborted || !isReason(failure, 'host-failure')) return failure;
  const reason: unknown = call.signal.reason;
  if (reason instanceof StorageError) return reason;
  const isLate = reason instanceof Error && reason.name === 'TimeoutError';
  return isLate
    ? new StorageError(
        'deadline-exceeded',
        `${doing}: not done by the deadline; a repeat takes it up again`,
        { cause: error },
      )
    : new StorageError('cancelled', `${doing}: the caller went away; a repeat takes it up again`, {
        cause: error,
      });
}
