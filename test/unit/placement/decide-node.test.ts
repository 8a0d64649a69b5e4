import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Candidate,
  decideAdvice,
  decideNode,
  type NodeDecision,
  type NodeFacts,
} from '../../../src/placement/decide-node.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { aCandidate, Gi, unpublished } from './builders.ts';

const immediate = aStorageClass({ volumeBindingMode: 'Immediate' });
const facts = (candidates: readonly Candidate[], changes: Partial<NodeFacts> = {}): NodeFacts => ({
  claim: 'shop/data',
  requestedBytes: 5n * Gi,
  storageClass: immediate,
  candidates,
  ...changes,
});
const nodeOf = (decision: NodeDecision): string | undefined =>
  decision.kind === 'place' ? decision.node.name : undefined;
const obstaclesOf = (decision: ReturnType<typeof decideNode>) =>
  decision.kind === 'nowhere'
    ? Object.fromEntries(decision.verdicts.map(({ candidate, obstacle }) => [candidate.node.name, obstacle]))
    : decision.kind;
const custom = { key: 'dedicated', isLifecycle: false };
const lifecycle = { key: 'node.kubernetes.io/disk-pressure', isLifecycle: true };

describe('the node of a claim that binds at once', () => {
  it('is the one with most room', () => {
    const decision = decideNode(
      facts([
        aCandidate('a', { freeBytes: 9n * Gi }),
        aCandidate('b'),
        aCandidate('c', { freeBytes: 8n * Gi }),
      ]),
    );
    expect(decision).toMatchObject({ kind: 'place', reason: 'of 3 nodes b has most room: 10 GiB' });
  });

  it('is one on which a single volume of that size fits, whatever is left in all', () => {
    const wide = { room: { largestBytes: 4n * Gi, freeBytes: 100n * Gi } };
    expect(nodeOf(decideNode(facts([aCandidate('a', wide), aCandidate('b')])))).toBe('b');
  });

  it('may be filled to the last byte', () => {
    expect(nodeOf(decideNode(facts([aCandidate('a', { freeBytes: 5n * Gi })])))).toBe('a');
    expect(obstaclesOf(decideNode(facts([aCandidate('a', { freeBytes: 5n * Gi - 1n })])))).toEqual({
      a: 'too-small',
    });
  });

  it('has room beside what was promised to other claims', () => {
    const promised = aCandidate('a', { freeBytes: 12n * Gi, promisedBytes: 7n * Gi });
    expect(nodeOf(decideNode(facts([promised])))).toBe('a');
    expect(nodeOf(decideNode(facts([promised, aCandidate('b', { freeBytes: 6n * Gi })])))).toBe('b');
    const over = { ...promised, promisedBytes: 7n * Gi + 1n };
    expect(decideNode(facts([over]))).toMatchObject({ kind: 'nowhere', againInMs: 10_000 });
  });

  it('is never one that has just given the claim back', () => {
    const refused = aCandidate('a', { refusedForMs: 30_000 });
    expect(nodeOf(decideNode(facts([refused, aCandidate('b', { freeBytes: 6n * Gi })])))).toBe('b');
    const decision = decideNode(facts([refused, aCandidate('c', { refusedForMs: 1_000 })]));
    expect(decision).toMatchObject({ kind: 'nowhere', againInMs: 1_000 });
    expect(obstaclesOf(decision)).toEqual({ a: 'refused', c: 'refused' });
  });

  it.each([
    ['has no driver', { node: { hasDriver: false } }, 'no-driver'],
    ['is not ready', { node: { isReady: false } }, 'not-ready'],
    ['is cordoned', { node: { isCordoned: true } }, 'cordoned'],
    ['is tainted by Kubernetes', { node: { taint: lifecycle } }, 'tainted'],
    ['has no room at all', { freeBytes: 0n }, 'no-room'],
    ['has too little room', { freeBytes: 4n * Gi }, 'too-small'],
  ] as const)('is never one that %s', (_, changes, obstacle) => {
    expect(obstaclesOf(decideNode(facts([aCandidate('a', changes)])))).toEqual({ a: obstacle });
  });

  it('is never one that publishes nothing for the class', () => {
    expect(obstaclesOf(decideNode(facts([unpublished(aCandidate('a'))])))).toEqual({ a: 'unpublished' });
  });

  it('is one that allowedTopologies admit', () => {
    const storageClass = aStorageClass({
      volumeBindingMode: 'Immediate',
      allowedTopologies: [{ matchLabelExpressions: [{ key: 'topology.loam.dev/node', values: ['b', 'c'] }] }],
    });
    const candidates = [
      aCandidate('a', { freeBytes: 99n * Gi }),
      aCandidate('b'),
      aCandidate('c', { freeBytes: Gi }),
    ];
    expect(nodeOf(decideNode(facts(candidates, { storageClass })))).toBe('b');
    const none = decideNode(facts(candidates, { storageClass, requestedBytes: 50n * Gi }));
    expect(obstaclesOf(none)).toEqual({ a: 'not-allowed', b: 'too-small', c: 'too-small' });
  });

  describe('where nodes are tainted by people', () => {
    const tainted = (name: string, freeBytes = 10n * Gi) =>
      aCandidate(name, { node: { taint: custom }, freeBytes });

    it('is an untainted one, even a full one', () => {
      expect(nodeOf(decideNode(facts([tainted('a'), aCandidate('b', { freeBytes: 6n * Gi })])))).toBe('b');
      expect(obstaclesOf(decideNode(facts([tainted('a'), aCandidate('b', { freeBytes: Gi })])))).toEqual({
        a: 'tainted',
        b: 'too-small',
      });
    });

    it('is a tainted one where all that the class allows and that have the driver are', () => {
      expect(nodeOf(decideNode(facts([tainted('a'), tainted('b', 6n * Gi)])))).toBe('a');
      const noDriver = aCandidate('control-plane', { node: { hasDriver: false } });
      expect(nodeOf(decideNode(facts([tainted('a'), noDriver])))).toBe('a');
      const storageClass = aStorageClass({
        allowedTopologies: [{ matchLabelExpressions: [{ key: 'topology.loam.dev/node', values: ['a'] }] }],
      });
      expect(nodeOf(decideNode(facts([tainted('a'), aCandidate('b')], { storageClass })))).toBe('a');
    });

    it('is never one with a lifecycle taint, though all are tainted', () => {
      const sick = aCandidate('b', { node: { taint: lifecycle }, freeBytes: 99n * Gi });
      expect(nodeOf(decideNode(facts([tainted('a'), sick])))).toBe('a');
      expect(obstaclesOf(decideNode(facts([sick])))).toEqual({ b: 'tainted' });
    });
  });

  it('is the same for the same claim, and spread for many, where all have the same room', () => {
    const candidates = ['a', 'b', 'c', 'd'].map((name) => aCandidate(name));
    const choose = (claim: string, of = candidates) => nodeOf(decideNode(facts(of, { claim }))) ?? '';
    const counts = new Map<string, number>();
    for (let claim = 0; claim < 400; claim += 1) {
      const node = choose(`shop/data-${claim}`);
      expect(choose(`shop/data-${claim}`, candidates.toReversed())).toBe(node);
      counts.set(node, (counts.get(node) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(count).toBeGreaterThan(60);
    expect(counts.size).toBe(4);
  });

  const candidate = fc.record({
    free: fc.integer({ min: 0, max: 12 }),
    promised: fc.integer({ min: 0, max: 6 }),
    hasDriver: fc.boolean(),
    isReady: fc.boolean(),
    isCordoned: fc.boolean(),
    taint: fc.constantFrom(undefined, undefined, custom, lifecycle),
    isPublished: fc.boolean(),
    refusedForMs: fc.constantFrom(0, 0, 500),
  });
  const many = fc.array(candidate, { maxLength: 12 }).map((wishes) =>
    wishes.map((wish, index): Candidate => {
      const { hasDriver, isReady, isCordoned, taint, refusedForMs } = wish;
      const made = aCandidate(`n${index}`, {
        node: { hasDriver, isReady, isCordoned, ...(taint === undefined ? {} : { taint }) },
        freeBytes: BigInt(wish.free) * Gi,
        promisedBytes: BigInt(wish.promised) * Gi,
        refusedForMs,
      });
      return wish.isPublished ? made : unpublished(made);
    }),
  );

  it('always serves, has the room, and no other that does has more', () => {
    const serves = ({ node, room, promisedBytes, refusedForMs }: Candidate) =>
      node.hasDriver &&
      node.isReady &&
      !node.isCordoned &&
      node.taint?.isLifecycle !== true &&
      refusedForMs === 0 &&
      room !== undefined &&
      room.freeBytes - promisedBytes >= 5n * Gi;
    fc.assert(
      fc.property(many, (candidates) => {
        const decision = decideNode(facts(candidates));
        if (decision.kind === 'nowhere') {
          expect(decision.verdicts).toHaveLength(candidates.length);
          const untainted = candidates.filter(({ node }) => node.taint === undefined);
          expect(untainted.filter(serves)).toEqual([]);
          return;
        }
        const chosen = candidates.find(({ node }) => node.name === decision.node.name);
        expect(chosen !== undefined && serves(chosen)).toBe(true);
        const left = ({ room, promisedBytes }: Candidate) => (room?.freeBytes ?? 0n) - promisedBytes;
        for (const other of candidates.filter(serves)) {
          const mayBe = other.node.taint === undefined || decision.node.taint !== undefined;
          if (mayBe && chosen !== undefined) expect(left(other) <= left(chosen)).toBe(true);
        }
        const hasUntainted = candidates.some(({ node }) => node.hasDriver && node.taint === undefined);
        if (hasUntainted) expect(decision.node.taint).toBeUndefined();
      }),
    );
  });

  it('does not depend on the order in which nodes are known', () => {
    fc.assert(
      fc.property(many, (candidates) => {
        const one = decideNode(facts(candidates));
        const other = decideNode(facts(candidates.toReversed()));
        expect(nodeOf(other)).toBe(nodeOf(one));
      }),
    );
  });
});

describe('a claim whose first pod will choose', () => {
  it('is told where no node has the room, with what each has', () => {
    const decision = decideAdvice(
      facts([
        aCandidate('a', { freeBytes: 2n * Gi }),
        aCandidate('b', { node: { isCordoned: true }, freeBytes: Gi }),
        unpublished(aCandidate('c')),
      ]),
    );
    expect(decision.kind === 'fits' ? decision.kind : obstaclesOf(decision)).toEqual({
      a: 'too-small',
      b: 'cordoned',
      c: 'unpublished',
    });
  });

  it.each([
    ['a node has the room', [aCandidate('a'), aCandidate('b', { freeBytes: 0n })]],
    [
      'the node that has it is cordoned: that is for the scheduler to say',
      [aCandidate('a', { node: { isCordoned: true } })],
    ],
    ['the room is promised: its own turn will tell', [aCandidate('a', { promisedBytes: 8n * Gi })]],
    ['nothing at all is published', [unpublished(aCandidate('a'))]],
    ['there is no node', []],
  ])('is not told anything where %s', (_, candidates) => {
    expect(decideAdvice(facts(candidates))).toEqual({ kind: 'fits' });
  });
});
