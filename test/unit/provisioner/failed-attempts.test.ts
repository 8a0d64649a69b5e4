import { describe, expect, it } from 'vitest';
import { FailedAttempts } from '../../../src/provisioner/failed-attempts.ts';
import { slowRetryMs } from '../../../src/provisioner/slow-claims.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const infeasible = { isFinal: true, isInfeasible: true };
const passing = { isFinal: false, isInfeasible: false };

describe('FailedAttempts', () => {
  it('lets what is infeasible rest, and anything else be tried with back-off', () => {
    const failures = new FailedAttempts(new ManualClock());
    expect(failures.retry('a', '10Gi')).toEqual({ kind: 'retry' });
    failures.add('a', '10Gi', infeasible);
    expect(failures.retry('a', '10Gi')).toEqual({ kind: 'retry', afterMs: slowRetryMs });
    failures.add('b', '10Gi', { isFinal: true, isInfeasible: false });
    expect(failures.retry('b', '10Gi')).toEqual({ kind: 'retry' });
    expect(failures.restMs('a', '20Gi')).toBe(0);
  });

  it('knows of the last failure only', () => {
    const failures = new FailedAttempts(new ManualClock());
    failures.add('a', '10Gi', infeasible);
    expect(failures.endedFinally('a')).toBe(true);
    failures.add('a', '10Gi', passing);
    expect(failures.endedFinally('a')).toBe(false);
    expect(failures.restMs('a', '10Gi')).toBe(0);
  });

  it('keeps that an attempt has ended when its rest ends, and forgets all of it at once', () => {
    const failures = new FailedAttempts(new ManualClock());
    failures.add('a', '10Gi', infeasible);
    failures.endRest('a');
    expect([failures.restMs('a', '10Gi'), failures.endedFinally('a')]).toEqual([0, true]);
    failures.add('a', '10Gi', infeasible);
    failures.forget('a');
    expect([failures.restMs('a', '10Gi'), failures.endedFinally('a')]).toEqual([0, false]);
  });
});
