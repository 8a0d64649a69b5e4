/** The gRPC codes that CSI uses, by name: the name is also what metrics and logs say. */
export type StatusCode =
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'UNAUTHENTICATED';

/**
 * An answer of a CSI driver that is not OK, as its caller sees it.
 *
 * `StorageError` is one; so is what the gRPC client makes of a status received over a socket. Callers
 * of the `CsiDriver` port look at `code` only; an error without one means that nobody knows what happened.
 */
export class CsiError extends Error {
  override name = 'CsiError';
  readonly code: StatusCode;

  constructor(code: StatusCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The code that an error carries, or undefined where it is no CSI answer at all. */
export function statusCodeOf(error: unknown): StatusCode | undefined {
  return error instanceof CsiError ? error.code : undefined;
}
