import { describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/model/log.ts';
import type { UnacknowledgedVolume } from '../../../src/model/volume-ledger.ts';
import { graceMs, Intents } from '../../../src/provisioner/intents.ts';
import { sweepIntents } from '../../../src/provisioner/sweep-intents.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const claim = { namespace: 'shop', name: 'data', uid: 'u1' };
const clock = new ManualClock();

function record(changes: Partial<UnacknowledgedVolume> = {}): UnacknowledgedVolume {
  return {
    volumeId: 'pvc-u1',
    name: 'pvc-u1',
    poolUuid: 'pool-1',
    claim,
    clusterUid: 'cluster-1',
    createdAtMs: clock.nowMs(),
    ...changes,
  };
}

function intentsOver(
  records: () => readonly UnacknowledgedVolume[],
  clusterUid: string | undefined = 'cluster-1',
): Intents {
  return new Intents({ ledger: { unacknowledged: records }, clusterUid, clock });
}

function without(key: 'claim' | 'clusterUid'): UnacknowledgedVolume {
  const copy = { ...record() };
  delete copy[key];
  return copy;
}

describe('Intents', () => {
  it('takes over at start what a crash left', () => {
    const intents = intentsOver(() => [record()]);
    expect(intents.takeOver(true)).toEqual(['u1']);
    expect(intents.get('u1')).toMatchObject({ claim, volume: { volumeId: 'pvc-u1', poolUuid: 'pool-1' } });
    expect(intents.takeOver(true)).toEqual([]);
  });

  const strangers: [what: string, stranger: UnacknowledgedVolume][] = [
    ['that tells no claim', without('claim')],
    ['of another cluster', record({ clusterUid: 'cluster-2' })],
    ['that tells no cluster', without('clusterUid')],
    ['with a name that this loop would not give', record({ name: 'restored' })],
  ];
  it.each(strangers)('leaves a record alone %s', (_what, stranger) => {
    expect(intentsOver(() => [stranger]).takeOver(true)).toEqual([]);
  });

  it('takes over nothing where the own cluster is unknown', () => {
    const ledger = { unacknowledged: () => [record(), without('clusterUid')] };
    expect(new Intents({ ledger, clock }).takeOver(true)).toEqual([]);
  });

  it('leaves young records to whoever is at work on them, but for the start', () => {
    const young = intentsOver(() => [record({ createdAtMs: clock.nowMs() - graceMs + 1 })]);
    expect(young.takeOver(false)).toEqual([]);
    const old = intentsOver(() => [record({ createdAtMs: clock.nowMs() - graceMs })]);
    expect(old.takeOver(false)).toEqual(['u1']);
  });

  it('does not take over what this process has in hand', () => {
    const intents = intentsOver(() => [record()]);
    intents.begin(claim, {
      name: 'pvc-u1',
      capacityRange: { requiredBytes: 1n, limitBytes: 0n },
      capabilities: [],
      parameters: {},
    });
    expect(intents.takeOver(true)).toEqual([]);
    intents.end('u1');
    expect(intents.has('u1')).toBe(false);
  });

  it('finds the record of one claim', () => {
    const intents = intentsOver(() => [
      record({ name: 'pvc-u2', volumeId: 'v2', claim: { ...claim, uid: 'u2' } }),
      record(),
    ]);
    expect(intents.recorded('u1')).toEqual({ volumeId: 'pvc-u1', poolUuid: 'pool-1' });
    expect(intents.recorded('u3')).toBeUndefined();
  });

  it('survives a ledger that cannot be read', () => {
    const intents = intentsOver(() => {
      throw new Error('disk gone');
    });
    const queued: string[] = [];
    expect(sweepIntents(intents, (uid) => queued.push(uid), silentLog, true)).toBe(0);
    expect(queued).toEqual([]);
  });
});
