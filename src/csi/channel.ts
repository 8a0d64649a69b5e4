import {
  credentials,
  Metadata,
  type CallOptions,
  type ChannelOptions,
  type ClientUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';
import type { CallContext } from '../model/csi-driver.ts';
import { CsiError } from '../model/status-code.ts';
import { statusNameOf } from './status.ts';
import { channelOptions } from './wire.ts';

/** What a generated client is made with for a driver on this machine. A restarted driver is found again within a second. */
export function channelTo(
  socketPath: string,
): [string, ReturnType<typeof credentials.createInsecure>, ChannelOptions] {
  const options = {
    ...channelOptions,
    'grpc.default_authority': 'localhost',
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
  };
  return [`unix://${socketPath}`, credentials.createInsecure(), options];
}

type Send<Response> = (
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, response?: Response) => void,
) => ClientUnaryCall;

/**
 * One call as a promise, with the context's deadline and signal.
 *
 * @throws CsiError with the code that the driver, or the channel on its behalf, answered
 * @throws Error where there is no answer to be had from; the outcome is unknown then
 */
export async function ask<Response>(
  call: CallContext,
  send: Send<Response>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  if (call.signal.aborted)
    throw new CsiError('CANCELLED', 'cancelled before it was sent', { cause: call.signal.reason });
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const sent = send(
    metadata,
    call.deadlineMs === undefined ? {} : { deadline: call.deadlineMs },
    (error, response) => {
      if (error !== null) reject(answerOf(error));
      else if (response === undefined) reject(new Error('the driver answered with nothing'));
      else resolve(response);
    },
  );
  const cancel = (): void => sent.cancel();
  call.signal.addEventListener('abort', cancel, { once: true });
  try {
    return await promise;
  } finally {
    call.signal.removeEventListener('abort', cancel);
  }
}

function answerOf(error: ServiceError): Error {
  const name = statusNameOf(error.code);
  return name === undefined ? error : new CsiError(name, error.details, { cause: error });
}
