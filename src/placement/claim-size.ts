import { requestedBytes } from '../claims/claim-facts.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';
import { isReason } from '../model/errors.ts';
import { maxInt64 } from '../model/quantity.ts';

/** What a claim asks for; more than can be counted is the most that can, which no node has. */
export function sizeOf(claim: PersistentVolumeClaim): bigint {
  try {
    return requestedBytes(claim);
  } catch (error) {
    if (isReason(error, 'size-out-of-range')) return maxInt64;
    throw error;
  }
}
