import { status } from '@grpc/grpc-js';
import { messageOf, StorageError } from '../model/errors.ts';
import { statusCodeOf, type StatusCode } from '../model/status-code.ts';

/** Longer texts would not fit into the trailers that every client accepts. */
const maxDetails = 2048;

/** What goes over the wire for an error. */
export interface WireStatus {
  readonly name: StatusCode;
  readonly code: status;
  readonly details: string;
}

/**
 * The status of anything that a handler threw. What is not a CSI answer is INTERNAL, unless the call was given up
 * meanwhile: then that is the reason, whatever the interrupted work had to say about it.
 */
export function wireStatus(error: unknown, signal?: AbortSignal): WireStatus {
  const known = statusCodeOf(error);
  if (known !== undefined) return statusOf(known, messageOf(error));
  const abortedAs = signal?.aborted === true ? statusCodeOf(signal.reason) : undefined;
  if (abortedAs !== undefined) return statusOf(abortedAs, messageOf(signal?.reason));
  return statusOf('INTERNAL', messageOf(error));
}

function statusOf(name: StatusCode, message: string): WireStatus {
  const details = message.length > maxDetails ? `${message.slice(0, maxDetails)}…` : message;
  // half of a character, also one that the cut has made, cannot be sent: grpc-js throws, and the caller would wait for ever
  return { name, code: status[name], details: details.toWellFormed() };
}

/** Our name of a number on the wire; undefined for OK and for numbers that gRPC does not know. */
export function statusNameOf(code: number): StatusCode | undefined {
  const name = status[code];
  return name === undefined || name === 'OK' ? undefined : (name as StatusCode);
}

/** As Go's gRPC spells it (`DeadlineExceeded`): dashboards made for the sidecars look for these. */
export function metricCode(name: StatusCode | 'OK'): string {
  if (name === 'OK') return name;
  if (name === 'CANCELLED') return 'Canceled';
  return name
    .split('_')
    .map((word) => word.slice(0, 1) + word.slice(1).toLowerCase())
    .join('');
}

/** Why a call was given up, as the reason of its signal. */
export function givenUp(method: string, deadlineMs: number | undefined, nowMs: number): StorageError {
  // grpc-js closes the stream on its own deadline timer, which may be a moment ahead of our clock
  if (deadlineMs !== undefined && nowMs + 20 >= deadlineMs) {
    return new StorageError(
      'deadline-exceeded',
      `${method} was not done by the caller's deadline; repeat it`,
    );
  }
  return new StorageError('cancelled', `${method} was cancelled by its caller`);
}
