import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Candidate, decideNode, type Verdict } from '../../../src/placement/decide-node.ts';
import { describeNowhere } from '../../../src/placement/describe-nowhere.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { aCandidate, Gi, unpublished } from './builders.ts';

const verdictsOn = (candidates: readonly Candidate[], requestedBytes = 5n * Gi): readonly Verdict[] => {
  const storageClass = aStorageClass({ volumeBindingMode: 'Immediate' });
  const decision = decideNode({ claim: 'shop/data', requestedBytes, storageClass, candidates });
  return decision.kind === 'nowhere' ? decision.verdicts : [];
};
const told = (candidates: readonly Candidate[], requestedBytes = 5n * Gi) =>
  describeNowhere(verdictsOn(candidates, requestedBytes), requestedBytes, 'fast');

describe('what is said where no node has the room', () => {
  it('names every node with its number or its trouble, most room first', () => {
    const { text } = told([
      aCandidate('node-d', { node: { isReady: false } }),
      aCandidate('node-b', { freeBytes: 0n, why: 'pool fast: /data/fast is not mounted' }),
      aCandidate('node-a', { freeBytes: 2n * Gi }),
      aCandidate('node-c', { node: { isCordoned: true } }),
    ]);
    expect(text).toBe(
      'no node has 5 GiB for class fast: node-a has 2 GiB, ' +
        'node-b has 0 (pool fast: /data/fast is not mounted), node-c is cordoned, node-d is not ready',
    );
  });

  it.each([
    [aCandidate('n', { node: { hasDriver: false } }), 'n does not run the driver'],
    [aCandidate('n', { node: { taint: { key: 'gpu', isLifecycle: true } } }), 'n is tainted gpu'],
    [unpublished(aCandidate('n')), 'n publishes nothing for this class'],
    [aCandidate('n', { freeBytes: 0n }), 'n has 0'],
    [aCandidate('n', { promisedBytes: 6n * Gi }), 'n has 10 GiB, of which 6 GiB are for other claims'],
    [aCandidate('n', { refusedForMs: 1 }), 'n has 10 GiB by its own count but could not make the volume'],
    [aCandidate('n', { freeBytes: 5n * Gi - 1n }), 'n has 4.99 GiB'],
  ])('has words for each trouble (%#)', (candidate, words) => {
    expect(told([candidate]).text).toBe(`no node has 5 GiB for class fast: ${words}`);
  });

  it('does not round away what is missing', () => {
    expect(told([aCandidate('n', { freeBytes: 5n * Gi + 1n })], 5n * Gi + 7n).text).toBe(
      'no node has 5 GiB for class fast: n has 6 bytes less',
    );
  });

  it('says so where nothing serves the class', () => {
    expect(told([]).text).toBe(
      'no node serves class fast: none has the driver, or publishes what it has left',
    );
    const left = { candidate: aCandidate('n'), obstacle: 'not-allowed' } as const;
    expect(describeNowhere([left, left], Gi, 'fast').text).toBe(
      'no node serves class fast: its allowedTopologies leave out all 2 nodes that have the driver',
    );
  });

  it('shows the five best of 5000 nodes and counts the rest', () => {
    const { text } = told(
      Array.from({ length: 5000 }, (_, index) =>
        aCandidate(`node-${String(index).padStart(4, '0')}`, { freeBytes: BigInt(index) * 1_000_000n }),
      ),
    );
    expect(text).toMatch(/: node-4999 has 4\.65 GiB, node-4998 .*, node-4995 has 4\.65 GiB, and 4995 more$/);
  });

  it('never is longer than an event may be, whatever names and reasons are', () => {
    const candidate = fc.record({
      name: fc.stringMatching(/^[a-z]{1,250}$/),
      why: fc.string({ maxLength: 2_000 }),
    });
    fc.assert(
      fc.property(
        fc.array(candidate, { minLength: 1, maxLength: 12 }),
        fc.stringMatching(/^[a-z]{1,250}$/),
        (wishes, className) => {
          const verdicts = verdictsOn(
            wishes.map(({ name, why }) => aCandidate(name, { freeBytes: 0n, why })),
          );
          const { text } = describeNowhere(verdicts, 5n * Gi, className);
          expect(text.length).toBeLessThanOrEqual(1_000);
          expect(text).toContain(wishes.map(({ name }) => name).toSorted()[0] ?? '');
          const shown = text.split(' has 0').length - 1;
          if (shown < wishes.length) expect(text).toMatch(new RegExp(`, and ${wishes.length - shown} more$`));
        },
      ),
      { numRuns: 50 },
    );
  });

  describe('is news', () => {
    const kindOf = (candidates: readonly Candidate[], bytes = 5n * Gi) => told(candidates, bytes).kind;
    const a = aCandidate('a', { freeBytes: 2n * Gi });
    const cordoned = aCandidate('b', { node: { isCordoned: true } });

    it('not where only a number is another', () => {
      expect(kindOf([a, cordoned])).toBe(kindOf([aCandidate('a', { freeBytes: 3n * Gi }), cordoned]));
      expect(kindOf([a])).toBe(kindOf([aCandidate('a', { freeBytes: 0n, why: 'full' })]));
    });

    it('where a node has another trouble, comes or goes', () => {
      expect(kindOf([a, cordoned])).not.toBe(kindOf([a, aCandidate('b', { freeBytes: Gi })]));
      expect(kindOf([a, cordoned])).not.toBe(kindOf([a]));
    });

    it('not where one of many nodes has a trouble that others have too', () => {
      const many = Array.from({ length: 20 }, (_, index) => aCandidate(`n${index}`, { freeBytes: Gi }));
      const down = aCandidate('x', { node: { isReady: false } });
      const alsoDown = aCandidate('y', { node: { isReady: false } });
      expect(kindOf([...many, down])).toBe(kindOf([...many.slice(3), down, alsoDown]));
      expect(kindOf(many)).not.toBe(kindOf([...many, down]));
    });
  });
});
