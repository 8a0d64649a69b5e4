import type { Lease } from './objects.ts';

/** What a candidate may do about a Lease that it has just read. */
export type LeaseDecision =
  | { readonly kind: 'take'; readonly why: string }
  /** another one has it: `record` is what has to stay unchanged for a whole lease before it may be taken */
  | { readonly kind: 'wait'; readonly holder: string; readonly record: string; readonly leaseMs: number };

/**
 * Whether a Lease may be taken. Times in it were written by another machine's clock and are compared with nothing: only that a record
 * has not changed for as long as we have watched it says that its holder is gone.
 *
 * @param unchanged the record that this process has seen unchanged for a whole lease
 */
export function decideLease(
  lease: Lease,
  identity: string,
  ownLeaseMs: number,
  unchanged: string | undefined,
): LeaseDecision {
  const { holderIdentity = '', leaseDurationSeconds = 0 } = lease.spec ?? {};
  if (holderIdentity === '') return { kind: 'take', why: 'nobody holds it' };
  // an earlier process of this name: there is one of a name at a time
  if (holderIdentity === identity) return { kind: 'take', why: 'it was ours before' };
  const record = recordOf(lease);
  if (record === unchanged) return { kind: 'take', why: `${holderIdentity} has not renewed it` };
  return {
    kind: 'wait',
    holder: holderIdentity,
    record,
    leaseMs: Math.max(leaseDurationSeconds * 1000, ownLeaseMs),
  };
}

/** What a holder changes with every renewal. Labels and annotations are not in it: others may write them. */
function recordOf({ metadata, spec = {} }: Lease): string {
  const { holderIdentity, acquireTime, renewTime, leaseTransitions } = spec;
  return JSON.stringify([metadata.uid, holderIdentity, acquireTime, renewTime, leaseTransitions]);
}
