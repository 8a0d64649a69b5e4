import { CsiError, type StatusCode } from './status-code.ts';

/** Everything that can be wrong, by what the caller can do about it. One row a reason, its gRPC code beside it. */
const codeOfReason = {
  /** a field of the request is missing or malformed */
  'invalid-argument': 'INVALID_ARGUMENT',
  /** a class parameter is unknown, malformed or contradicts another */
  'invalid-parameter': 'INVALID_ARGUMENT',
  /** the access mode, access type or file system cannot be had from this backend */
  'unsupported-capability': 'INVALID_ARGUMENT',
  /** required above limit, below the smallest or above the largest volume that can be made anywhere */
  'size-out-of-range': 'OUT_OF_RANGE',
  /** the topology asked for excludes this node */
  'wrong-node': 'RESOURCE_EXHAUSTED',
  /** the pool has not that much left; everything made on the way is gone again */
  'out-of-space': 'RESOURCE_EXHAUSTED',
  'volume-not-found': 'NOT_FOUND',
  'path-not-found': 'NOT_FOUND',
  'source-not-found': 'NOT_FOUND',
  'snapshot-not-found': 'NOT_FOUND',
  /** the source has another shape than what is to be made of it */
  'source-differs': 'INVALID_ARGUMENT',
  /** the same name was used with another size, capability or parameter */
  'already-exists-different': 'ALREADY_EXISTS',
  /** staged or published already, with other arguments */
  'published-differently': 'ALREADY_EXISTS',
  /** still mounted, staged or attached */
  'in-use': 'FAILED_PRECONDITION',
  'not-staged': 'FAILED_PRECONDITION',
  /** only a copy that mixes several moments could be had, and nobody accepted that */
  'not-consistent': 'FAILED_PRECONDITION',
  /** the file system cannot grow while it is mounted here */
  'cannot-grow-now': 'FAILED_PRECONDITION',
  /** the target or staging path is something that we must not mount over */
  'bad-target': 'FAILED_PRECONDITION',
  /** the data asked to be erased cannot be (copy-on-write pool, foreign mount inside) */
  'cannot-erase': 'FAILED_PRECONDITION',
  /** the record or the data on disk belong to another pool, or claim */
  'wrong-pool': 'FAILED_PRECONDITION',
  /** another call for the same volume is running */
  busy: 'ABORTED',
  /** the bytes of a deleted volume are still being removed */
  'still-removing': 'ABORTED',
  /** data is being copied in the background; the same call waits for it */
  'still-copying': 'ABORTED',
  /** a page token that we did not give out, or that is too old */
  'bad-token': 'ABORTED',
  /** marker missing, disk not mounted, read-only, or not recovered yet */
  'pool-unavailable': 'UNAVAILABLE',
  'pool-not-found': 'INVALID_ARGUMENT',
  /** nothing here enforces a limit and the class did not accept an advisory one */
  'limit-not-enforced': 'INVALID_ARGUMENT',
  cancelled: 'CANCELLED',
  'deadline-exceeded': 'DEADLINE_EXCEEDED',
  unimplemented: 'UNIMPLEMENTED',
  /** a command, a system call or the disk failed in a way that a person has to look at */
  'host-failure': 'INTERNAL',
  /** the record or the image on disk is damaged */
  'data-loss': 'DATA_LOSS',
} as const satisfies Record<string, StatusCode>;

export type Reason = keyof typeof codeOfReason;

/** Facts for logs and events; never secrets. */
export type Facts = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

/**
 * The one error that rooms below the edges throw on purpose.
 *
 * The message is lower case, names the thing and the number and says what to do:
 * `volume pvc-… needs 5 GiB, pool fast has 3.2 GiB free; ask for less or add a pool`.
 */
export class StorageError extends CsiError {
  override name = 'StorageError';
  readonly reason: Reason;
  readonly facts: Facts;

  constructor(reason: Reason, message: string, options: ErrorOptions & { facts?: Facts } = {}) {
    super(codeOfReason[reason], message, options);
    this.reason = reason;
    this.facts = options.facts ?? {};
  }

  /** The single funnel for catch blocks: a StorageError as it is, anything else as `host-failure`. */
  static from(error: unknown, doing: string): StorageError {
    if (error instanceof StorageError) return error;
    return new StorageError('host-failure', `${doing}: ${messageOf(error)}`, { cause: error });
  }
}

/** Whether an error is a StorageError of one of these reasons. */
export function isReason(error: unknown, ...reasons: readonly Reason[]): error is StorageError {
  return error instanceof StorageError && reasons.includes(error.reason);
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
