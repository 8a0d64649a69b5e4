import { describe, expect, it } from 'vitest';
import type { SourceRef } from '../../../src/claims/data-source.ts';
import { SourceWaits } from '../../../src/claims/source-waits.ts';

const monday: SourceRef = { kind: 'snapshot', namespace: 'shop', name: 'monday' };
const claim: SourceRef = { ...monday, kind: 'claim' };

describe('claims that wait for their source', () => {
  it('wait longer each time, and from the beginning after news of it', () => {
    const waits = new SourceWaits({ baseMs: 1_000, maxMs: 4_000 });
    const all = [1, 2, 3, 4].map(() => waits.wait('a', monday));
    const fullMs = [1_000, 2_000, 4_000, 4_000];
    for (const [index, waitMs] of all.entries()) {
      expect(waitMs).toBeLessThanOrEqual(fullMs[index] ?? 0);
      expect(waitMs).toBeGreaterThanOrEqual((fullMs[index] ?? 0) * 0.75);
    }
    expect(waits.wake(monday)).toEqual(['a']);
    expect(waits.wait('a', monday)).toBeLessThanOrEqual(1_000);
  });

  it('are told by what they wait for, until they do not any more', () => {
    const waits = new SourceWaits({ baseMs: 1_000, maxMs: 4_000 });
    waits.wait('a', monday);
    waits.wait('b', monday);
    waits.wait('c', claim);
    expect(waits.wake(monday)).toEqual(['a', 'b']);
    waits.forget('a');
    waits.wait('b', claim);
    expect(waits.wake(monday)).toEqual([]);
    expect(waits.wake(claim)).toEqual(['c', 'b']);
  });
});
