import { describe, expect, it } from 'vitest';
import { decideRelease, type ReleaseFacts } from '../../../src/placement/decide-release.ts';
import { nodeStateOf } from '../../../src/placement/node-state.ts';
import { aCsiNode, aNode, aNodeState } from './builders.ts';

const nowMs = Date.parse('2026-11-22T12:00:00Z');
const limitMs = 300_000;
const decide = (changes: Partial<ReleaseFacts>) =>
  decideRelease({
    nodeName: 'node-a',
    node: aNodeState(),
    driverLostSinceMs: undefined,
    notReadySinceMs: undefined,
    hasVolume: false,
    nowMs,
    unreachableAfterMs: limitMs,
    ...changes,
  });

describe('a claim that waits for a node', () => {
  it('is kept where the node can serve it', () => {
    expect(decide({})).toEqual({ kind: 'keep', reason: 'node node-a can serve it' });
  });

  it('is kept on a cordoned and tainted node: it is there already', () => {
    const node = aNodeState({ isCordoned: true, taint: { key: 'gpu', isLifecycle: false } });
    expect(decide({ node }).kind).toBe('keep');
  });

  it('is let go at once where the node is gone', () => {
    expect(decide({ node: undefined })).toEqual({
      kind: 'release',
      cause: 'node-gone',
      reason: 'node node-a is not there any more',
    });
  });

  it.each([undefined, aNodeState({ hasDriver: false }), aNodeState({ isReady: false, notReadySinceMs: 0 })])(
    'is never let go when it has a volume (%#)',
    (node) => {
      expect(decide({ node, driverLostSinceMs: 0, hasVolume: true }).kind).toBe('keep');
    },
  );

  describe.each([
    [
      'driver-lost',
      (sinceMs: number) => ({ node: aNodeState({ hasDriver: false }), driverLostSinceMs: sinceMs }),
    ],
    ['not-ready', (sinceMs: number) => ({ node: aNodeState({ isReady: false, notReadySinceMs: sinceMs }) })],
    ['not-ready', (sinceMs: number) => ({ node: aNodeState({ isReady: false }), notReadySinceMs: sinceMs })],
  ] as const)('with trouble %s', (cause, since) => {
    it('is kept until the limit, and looked at right after it', () => {
      expect(decide(since(nowMs))).toMatchObject({ kind: 'wait', afterMs: limitMs + 1 });
      expect(decide(since(nowMs - limitMs + 1))).toMatchObject({ kind: 'wait', afterMs: 2 });
      expect(decide(since(nowMs - limitMs))).toMatchObject({ kind: 'wait', afterMs: 1 });
    });

    it('is let go beyond the limit', () => {
      expect(decide(since(nowMs - limitMs - 1))).toMatchObject({ kind: 'release', cause });
    });

    it('is not let go for a time that lies ahead of us, and looked at within the limit', () => {
      expect(decide(since(nowMs + 3_600_000))).toMatchObject({ kind: 'wait', afterMs: limitMs + 1 });
    });
  });

  it('says how long it has been so', () => {
    const node = aNodeState({ isReady: false, notReadySinceMs: nowMs - 330_000 });
    expect(decide({ node })).toMatchObject({ reason: 'node node-a has not been ready for 5m30s' });
    expect(
      decide({ node: aNodeState({ hasDriver: false }), driverLostSinceMs: nowMs - 90_000 }),
    ).toMatchObject({
      kind: 'wait',
      reason: 'node node-a has not had the driver for 1m30s',
    });
  });

  it('is let go for what has lasted longest', () => {
    const node = aNodeState({ isReady: false, notReadySinceMs: nowMs - 1_000, hasDriver: false });
    expect(decide({ node, driverLostSinceMs: nowMs - limitMs - 1 })).toMatchObject({ cause: 'driver-lost' });
  });
});

describe('what placement sees of a node', () => {
  it('is read from the Node and the CSINode', () => {
    expect(nodeStateOf(aNode('node-a'), aCsiNode('node-a'), 'loam.dev')).toEqual(aNodeState());
    expect(nodeStateOf(aNode('node-a'), aCsiNode('node-a', ['other.dev']), 'loam.dev').hasDriver).toBe(false);
    expect(nodeStateOf(aNode('node-a'), undefined, 'loam.dev').hasDriver).toBe(false);
  });

  it('has since when it is not ready, where that is written down', () => {
    const since = aNode('n', { isReady: false, notReadySince: '2026-11-22T11:00:00Z' });
    expect(nodeStateOf(since, undefined, 'd')).toMatchObject({
      isReady: false,
      notReadySinceMs: nowMs - 3_600_000,
    });
    expect(nodeStateOf(aNode('n', { isReady: false }), undefined, 'd').notReadySinceMs).toBeUndefined();
    expect(nodeStateOf({ metadata: { name: 'new' } }, undefined, 'd').isReady).toBe(false);
  });

  it('names the taint that weighs most, and passes over mere preferences', () => {
    const taints = [
      { key: 'later', effect: 'PreferNoSchedule' },
      { key: 'gpu', effect: 'NoSchedule' },
      { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' },
    ];
    const of = (count: number) =>
      nodeStateOf(aNode('n', { taints: taints.slice(0, count) }), undefined, 'd').taint;
    expect(of(1)).toBeUndefined();
    expect(of(2)).toEqual({ key: 'gpu', isLifecycle: false });
    expect(of(3)).toEqual({ key: 'node.kubernetes.io/unreachable', isLifecycle: true });
  });
});
