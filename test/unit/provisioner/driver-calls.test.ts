import { describe, expect, it } from 'vitest';
import { CsiError } from '../../../src/model/status-code.ts';
import { describeDriverError, DriverCalls, grpcName } from '../../../src/provisioner/driver-calls.ts';
import { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const never = new AbortController().signal;

function setUp() {
  const clock = new ManualClock();
  const driver = new FakeCsiDriver({ name: 'loam.dev', topologyValue: 'node-a' });
  const observed: object[] = [];
  const metrics = {
    count: () => {},
    gauge: () => {},
    observeSeconds: (name: string, labels: object, seconds: number) =>
      void observed.push({ name, ...labels, seconds }),
  };
  const calls = new DriverCalls({ driver, driverName: 'loam.dev', timeoutMs: 10_000, clock, metrics });
  return { clock, driver, observed, calls };
}

describe('DriverCalls', () => {
  it('tells the driver its deadline and measures the call under upstream’s name', async () => {
    const { calls, driver, clock, observed } = setUp();
    let seen: number | undefined;
    driver.onDelete = () => clock.advance(1_500);
    driver.onCreate = (_request, call) => void (seen = call.deadlineMs);
    await calls.createVolume(aRequest, never);
    expect(seen).toBe(clock.nowMs() + 10_000);
    await calls.deleteVolume({ volumeId: 'x' }, never);
    expect(observed).toEqual([
      {
        name: 'csi_sidecar_operations_seconds',
        driver_name: 'loam.dev',
        method_name: '/csi.v1.Controller/CreateVolume',
        grpc_status_code: 'OK',
        seconds: 0,
      },
      expect.objectContaining({ method_name: '/csi.v1.Controller/DeleteVolume', seconds: 1.5 }),
    ]);
  });

  it('makes, lists and deletes snapshots under upstream’s names, and says that space may have been used', async () => {
    const { driver, observed, clock } = setUp();
    let told = 0;
    const metrics = {
      count: () => {},
      gauge: () => {},
      observeSeconds: (_name: string, labels: object) => void observed.push(labels),
    };
    const options = { driver, driverName: 'loam.dev', timeoutMs: 10_000, clock, metrics };
    const calls = new DriverCalls({ ...options, onSpaceUsed: () => void (told += 1) });
    driver.make(aRequest);
    const sourceVolumeId = [...driver.volumes.keys()][0] ?? '';
    const { snapshotId } = await calls.createSnapshot({ name: 's', sourceVolumeId, parameters: {} }, never);
    const { entries } = await calls.listSnapshots({ maxEntries: 0, startingToken: '' }, never);
    expect(entries.map((entry) => entry.snapshotId)).toEqual([snapshotId]);
    expect(told).toBe(1);
    await calls.deleteSnapshot(snapshotId, never);
    expect(told).toBe(2);
    expect(observed).toMatchObject(
      ['CreateSnapshot', 'ListSnapshots', 'DeleteSnapshot'].map((method) => ({
        method_name: `/csi.v1.Controller/${method}`,
      })),
    );
  });

  it('gives up at the deadline even on a driver that does not listen', async () => {
    const { calls, driver, clock, observed } = setUp();
    let signal: AbortSignal | undefined;
    driver.onCreate = (_request, call) => {
      signal = call.signal;
      return new Promise(() => {});
    };
    const failed = expect(calls.createVolume(aRequest, never)).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    await clock.advance(10_000);
    await failed;
    expect(signal?.aborted).toBe(true);
    expect(observed).toMatchObject([{ grpc_status_code: 'DeadlineExceeded' }]);
    expect(clock.waiting).toBe(0);
  });

  it('stops with the provisioner', async () => {
    const { calls, driver } = setUp();
    const stop = new AbortController();
    driver.onDelete = () => new Promise(() => {});
    const failed = expect(calls.deleteVolume({ volumeId: 'x' }, stop.signal)).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    stop.abort();
    await failed;
    await expect(calls.deleteVolume({ volumeId: 'x' }, stop.signal)).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    expect(driver.deletes).toHaveLength(1);
  });

  it('passes the driver’s own answer on', async () => {
    const { calls, driver, observed } = setUp();
    driver.onCreate = () => {
      throw new CsiError('OUT_OF_RANGE', 'too much');
    };
    await expect(calls.createVolume(aRequest, never)).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
    driver.onDelete = () => {
      throw new Error('socket closed');
    };
    await expect(calls.deleteVolume({ volumeId: 'x' }, never)).rejects.toThrow('socket closed');
    expect(observed).toMatchObject([{ grpc_status_code: 'OutOfRange' }, { grpc_status_code: 'Unknown' }]);
  });
});

describe('the words for an answer', () => {
  it('are gRPC’s', () => {
    expect([grpcName('CANCELLED'), grpcName('RESOURCE_EXHAUSTED'), grpcName('INTERNAL')]).toEqual([
      'Canceled',
      'ResourceExhausted',
      'Internal',
    ]);
    expect(describeDriverError(new CsiError('OUT_OF_RANGE', 'too much'))).toBe(
      'rpc error: code = OutOfRange desc = too much',
    );
    expect(describeDriverError(new Error('socket closed'))).toBe('socket closed');
  });
});

const aRequest = {
  name: 'pvc-1',
  capacityRange: { requiredBytes: 1n, limitBytes: 0n },
  capabilities: [],
  parameters: {},
};
