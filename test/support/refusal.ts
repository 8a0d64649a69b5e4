import { expect } from 'vitest';
import { StorageError, type Reason } from '../../src/model/errors.ts';
import { failureOf } from './failure-of.ts';

/** The StorageError that a promise was rejected with; anything else is thrown. */
export async function refusal(promise: Promise<unknown>): Promise<StorageError> {
  const error = await failureOf(promise);
  if (!(error instanceof StorageError)) throw error;
  return error;
}

/** Refused for this reason, or the test fails with the message. */
export async function expectRefused(promise: Promise<unknown>, reason: Reason): Promise<StorageError> {
  const error = await refusal(promise);
  expect(error.reason, error.message).toBe(reason);
  return error;
}
