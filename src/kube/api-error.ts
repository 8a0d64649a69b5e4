/** An answer of the API server that is not a success. `reason` is the server's word: NotFound, Conflict, AlreadyExists, Expired… */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  readonly reason: string;
  /** from Retry-After, where the server sent it */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** How long the API server asked to wait before a repeat; undefined: it did not. */
export function askedWaitMs(error: unknown): number | undefined {
  return error instanceof ApiError ? error.retryAfterMs : undefined;
}

/** No answer: refused, reset, timed out. Whether a write took effect is unknown. */
export class ApiUnreachable extends Error {
  override name = 'ApiUnreachable';
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

/** A precondition (resourceVersion, uid) did not hold. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409 && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409 && error.reason === 'AlreadyExists';
}

/** The resourceVersion is too old for a list or watch. */
export function isExpired(error: unknown): boolean {
  return error instanceof ApiError && error.status === 410;
}

/**
 * Whether it is the kind that the server does not have, and not the object: the CustomResourceDefinition is not installed. It answers
 * 404 to either; about an object it says which one it did not find.
 */
export function isKindMissing(error: unknown): boolean {
  return isNotFound(error) && error instanceof ApiError && !/ "[^"]*" not found$/.test(error.message);
}
