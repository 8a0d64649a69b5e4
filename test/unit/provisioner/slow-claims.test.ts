import { describe, expect, it } from 'vitest';
import { SlowClaims, slowRetryMs } from '../../../src/provisioner/slow-claims.ts';
import { ManualClock } from '../../support/manual-clock.ts';

describe('SlowClaims', () => {
  it('lets an infeasible claim rest for five minutes', async () => {
    const clock = new ManualClock();
    const slow = new SlowClaims(clock);
    expect(slow.restMs('u1', 'c1')).toBe(0);
    slow.add('u1', 'c1');
    expect(slow.restMs('u1', 'c1')).toBe(slowRetryMs);
    await clock.advance(slowRetryMs - 1);
    expect(slow.restMs('u1', 'c1')).toBe(1);
    await clock.advance(1);
    expect(slow.restMs('u1', 'c1')).toBe(0);
  });

  it('tries again at once when the class was made anew', () => {
    const slow = new SlowClaims(new ManualClock());
    slow.add('u1', 'c1');
    expect(slow.restMs('u1', 'c2')).toBe(0);
    expect(slow.restMs('u1', 'c1')).toBe(0);
  });

  it('forgets', () => {
    const slow = new SlowClaims(new ManualClock());
    slow.add('u1', 'c1');
    slow.forget('u1');
    expect(slow.restMs('u1', 'c1')).toBe(0);
  });
});
