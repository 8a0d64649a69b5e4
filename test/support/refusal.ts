import { expect } from 'vitest';
import { StorageError, type Reason } from '../../src/model/errors.ts';

/** The StorageError that a promise was rejected with; anything else is thrown. */
export async function refusal(promise: Promise<unknown>): Promise<StorageError> {
  const error: unknown = await promise.then(
    () => new Error('it was not refused'),
    (failure: unknown) => failure,
  );
  if (!(error instanceof StorageError)) throw error;
  return error;
}

/** Refused for this reason, or the test fails with the message. */
export async function expectRefused(promise: Promise<unknown>, reason: Reason): Promise<StorageError> {
  const error = await refusal(promise);
  expect(error.reason, error.message).toBe(reason);
  return error;
}
