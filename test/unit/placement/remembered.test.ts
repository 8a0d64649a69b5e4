import { describe, expect, it } from 'vitest';
import { NodeAbsences } from '../../../src/placement/node-absences.ts';
import { projectClaim, projectNode, projectVolume } from '../../../src/placement/project.ts';
import { PromisedRoom } from '../../../src/placement/promised-room.ts';
import { Refusals } from '../../../src/placement/refusals.ts';
import { roomOf, topologyValueOf } from '../../../src/placement/room.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { aCapacity, aNodeState, Gi } from './builders.ts';

describe('room that was promised', () => {
  it('counts until the PV is there and the node has published since', async () => {
    const promised = new PromisedRoom(new ManualClock());
    promised.add('one', 'node-a', 2n * Gi, 7);
    expect(promised.bytesOn('node-a', 7)).toBe(2n * Gi);
    expect(promised.bytesOn('node-b', 7)).toBe(0n);
    expect(promised.bytesOn('node-a', 8)).toBe(2n * Gi);
    promised.volumeSeen('one');
    expect(promised.bytesOn('node-a', 7)).toBe(2n * Gi);
    expect(promised.bytesOn('node-a', 8)).toBe(0n);
  });

  it('counts for ten seconds at most, and once a claim', async () => {
    const clock = new ManualClock();
    const promised = new PromisedRoom(clock);
    promised.add('one', 'node-a', Gi, 1);
    promised.add('one', 'node-b', Gi, 1);
    promised.add('two', 'node-b', Gi, 1);
    expect([promised.bytesOn('node-a', 1), promised.bytesOn('node-b', 1)]).toEqual([0n, 2n * Gi]);
    promised.end('two');
    promised.end('unknown');
    await clock.advance(9_999);
    expect(promised.bytesOn('node-b', 1)).toBe(Gi);
    await clock.advance(1);
    expect(promised.bytesOn('node-b', 1)).toBe(0n);
  });
});

describe('a refusal', () => {
  it('lasts a minute, or until the node has published since, though not less than a second', async () => {
    const clock = new ManualClock();
    const refusals = new Refusals(clock);
    refusals.add('one', 'node-a', 7);
    expect(refusals.restMs('one', 'node-a', 7)).toBe(60_000);
    expect(refusals.restMs('one', 'node-a', 8)).toBe(1_000);
    expect([refusals.restMs('one', 'node-b', 7), refusals.restMs('two', 'node-a', 7)]).toEqual([0, 0]);
    await clock.advance(1_000);
    expect(refusals.restMs('one', 'node-a', 8)).toBe(0);
    expect(refusals.restMs('one', 'node-a', 7)).toBe(59_000);
  });

  it('lasts twice as long each time, up to a minute', () => {
    const refusals = new Refusals(new ManualClock());
    const rests = Array.from({ length: 8 }, (_, mark) => {
      refusals.add('one', 'node-a', mark);
      return refusals.restMs('one', 'node-a', mark + 1);
    });
    expect(rests).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    refusals.forget('one');
    expect(refusals.restMs('one', 'node-a', 1)).toBe(0);
  });
});

describe('the absence of a node', () => {
  it('begins when it was first seen, and again after it was back', async () => {
    const clock = new ManualClock();
    const absences = new NodeAbsences(clock);
    const startMs = clock.nowMs();
    const away = aNodeState({ hasDriver: false, isReady: false });
    expect(absences.note(away)).toEqual({ driverLostSinceMs: startMs, notReadySinceMs: startMs });
    await clock.advance(5_000);
    expect(absences.note({ ...away, isReady: true })).toEqual({
      driverLostSinceMs: startMs,
      notReadySinceMs: undefined,
    });
    expect(absences.note(away).notReadySinceMs).toBe(startMs + 5_000);
    absences.forget('node-a');
    expect(absences.note(away).driverLostSinceMs).toBe(startMs + 5_000);
  });
});

describe('room as it is published', () => {
  it('is the largest volume where that is told, else all that is left', () => {
    const object = aCapacity('node-a', 'fast', '10Gi', 'full');
    expect(roomOf(object)).toEqual({ largestBytes: 10n * Gi, freeBytes: 10n * Gi, why: 'full' });
    expect(roomOf({ ...object, maximumVolumeSize: '3Gi' })).toMatchObject({
      largestBytes: 3n * Gi,
      freeBytes: 10n * Gi,
    });
    const { capacity: _, ...onlyLargest } = object;
    expect(roomOf(onlyLargest)).toMatchObject({ largestBytes: 10n * Gi, freeBytes: 10n * Gi });
    const { maximumVolumeSize: __, ...onlyCapacity } = object;
    expect(roomOf(onlyCapacity).largestBytes).toBe(10n * Gi);
    expect(roomOf({ metadata: { name: 'x' }, storageClassName: 'fast' })).toEqual({
      largestBytes: 0n,
      freeBytes: 0n,
    });
    expect(roomOf({ ...object, capacity: 'junk', maximumVolumeSize: '99E' }).largestBytes).toBe(
      (1n << 63n) - 1n,
    );
  });

  it('is of the node that its selector names', () => {
    expect(topologyValueOf(aCapacity('node-a', 'fast', '1Gi'))).toBe('node-a');
    expect(topologyValueOf({ ...aCapacity('node-a', 'fast', '1Gi'), nodeTopology: {} })).toBeUndefined();
  });
});

describe('what the controller keeps of objects', () => {
  it('is next to nothing of a bound claim and of a volume that somebody has', () => {
    const claim = projectClaim(aClaim({ spec: { volumeName: 'pv' } }));
    expect(claim.spec).toEqual({ volumeName: 'pv' });
    const volume = projectVolume(aPersistentVolume());
    expect(volume.spec).toEqual({ claimRef: { namespace: 'shop', name: 'data', uid: 'uid-1' } });
    expect(JSON.stringify([claim, volume]).length).toBeLessThan(600);
  });

  it('has what decides of an open claim, and drops what people wrote on it', () => {
    const notes = { note: 'x'.repeat(1_000), 'volume.kubernetes.io/selected-node': 'node-a' };
    const claim = projectClaim(aClaim({ metadata: { annotations: notes } }));
    expect(claim.metadata.annotations).toEqual({ 'volume.kubernetes.io/selected-node': 'node-a' });
    expect(claim).toMatchObject({ spec: aClaim().spec, status: { phase: 'Pending' } });
  });

  it('is of a node whether it serves, not what it is', () => {
    const node = projectNode({
      metadata: { name: 'n', labels: { zone: 'z' } },
      status: {
        conditions: [
          { type: 'DiskPressure', status: 'False' },
          { type: 'Ready', status: 'True' },
        ],
      },
    });
    expect(node).toEqual({
      metadata: { name: 'n' },
      spec: {},
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    });
  });
});
