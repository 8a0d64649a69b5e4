import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { refusal, send, serveDrivers } from '../../support/served-driver.ts';

const createRequest = { name: 'snapshot-1', sourceVolumeId: 'pvc-1' };
const onTheWire = {
  snapshotId: 'snap-1',
  sourceVolumeId: 'pvc-1',
  sizeBytes: '1073741824',
  creationTime: { seconds: '1700000000', nanos: 123_000_000 },
  readyToUse: true,
};

let served: Awaited<ReturnType<typeof serveDrivers>>;
beforeAll(async () => {
  served = await serveDrivers();
});
afterAll(async () => served[Symbol.asyncDispose]());
beforeEach(() => {
  served.controllerCalls.splice(0);
  served.logLines.splice(0);
});

const ask = (method: string, request: object) => send(served.clients.controller, method, request);
const asked = () => served.controllerCalls.map(({ verb, request }) => ({ verb, request }));

describe('the Controller service, growing and modifying', () => {
  it('hands a whole ControllerExpandVolume to the driver, and answers to the last byte', async () => {
    const answer = await ask('controllerExpandVolume', {
      volumeId: 'pvc-1',
      capacityRange: { requiredBytes: '9223372036854775807' },
      volumeCapability: { accessMode: { mode: 'SINGLE_NODE_WRITER' }, block: {} },
      secrets: { key: 'hidden' },
    });
    expect(answer).toEqual({ capacityBytes: '9223372036854775807', nodeExpansionRequired: true });
    expect(asked()).toEqual([
      {
        verb: 'expandVolume',
        request: {
          volumeId: 'pvc-1',
          capacityRange: { requiredBytes: (1n << 63n) - 1n, limitBytes: 0n },
          capability: { accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'block' } },
        },
      },
    ]);
  });

  it('hands ControllerModifyVolume to the driver, and its refusal back', async () => {
    const request = {
      volumeId: 'pvc-1',
      mutableParameters: { limit: 'advisory' },
      secrets: { key: 'hidden' },
    };
    expect(await ask('controllerModifyVolume', request)).toEqual({});
    expect(asked()).toEqual([
      { verb: 'modifyVolume', request: { volumeId: 'pvc-1', mutableParameters: { limit: 'advisory' } } },
    ]);
    await using rigid = await serveDrivers({
      controller: {
        modifyVolume: async () => {
          throw new StorageError('invalid-parameter', 'iops cannot be changed');
        },
      },
    });
    const { code, details } = await refusal(
      send(rigid.clients.controller, 'controllerModifyVolume', request),
    );
    expect({ code, details }).toEqual({ code: status.INVALID_ARGUMENT, details: 'iops cannot be changed' });
  });

  it.each([
    ['controllerExpandVolume', 'no capacity range', {}, /^capacity_range is missing/],
    [
      'controllerExpandVolume',
      'a negative size',
      { capacityRange: { requiredBytes: '-1' } },
      /^capacity_range\.required_bytes is negative/,
    ],
    [
      'controllerExpandVolume',
      'a capability without access mode',
      { capacityRange: { requiredBytes: '1' }, volumeCapability: { block: {} } },
      /^volume_capability\.access_mode/,
    ],
    [
      'controllerModifyVolume',
      'parameters of more than 4 KiB',
      { mutableParameters: { a: 'x'.repeat(4096) } },
      /^mutable_parameters has 4097 bytes/,
    ],
  ] as const)('refuses %s with %s and does not ask the driver', async (method, _case, request, message) => {
    const { code, details } = await refusal(ask(method, { volumeId: 'pvc-1', ...request }));
    expect({ code, details }).toEqual({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(message) as string,
    });
    expect(asked()).toEqual([]);
  });
});

describe('the Controller service, taking snapshots', () => {
  it('hands CreateSnapshot to the driver and its snapshot back, the time to the millisecond', async () => {
    const request = { ...createRequest, parameters: { consistency: 'accept' }, secrets: { key: 'hidden' } };
    expect(await ask('createSnapshot', request)).toEqual({ snapshot: onTheWire });
    expect(asked()).toEqual([
      {
        verb: 'createSnapshot',
        request: { ...createRequest, parameters: { consistency: 'accept' } },
      },
    ]);
  });

  it('names the snapshot and its source in the log, and never a secret', async () => {
    await ask('createSnapshot', { ...createRequest, secrets: { key: 'hidden' } });
    await ask('deleteSnapshot', { snapshotId: 'snap-1', secrets: { key: 'hidden' } });
    expect(served.logLines.map(({ facts }) => facts)).toMatchObject([
      { method: 'CreateSnapshot', name: 'snapshot-1', sourceVolumeId: 'pvc-1' },
      { method: 'DeleteSnapshot', snapshotId: 'snap-1' },
    ]);
    expect(JSON.stringify(served.logLines)).not.toContain('hidden');
  });

  it('deletes and tells by id', async () => {
    expect(await ask('deleteSnapshot', { snapshotId: 'snap-1' })).toEqual({});
    expect(await ask('getSnapshot', { snapshotId: 'snap_snapshot-1' })).toEqual({ snapshot: onTheWire });
    expect(asked()).toEqual([
      { verb: 'deleteSnapshot', request: 'snap-1' },
      { verb: 'getSnapshot', request: 'snap_snapshot-1' },
    ]);
  });

  it('lists all and filtered, and what cannot be an id of ours is a filter like any other', async () => {
    expect(await ask('listSnapshots', {})).toEqual({
      entries: [{ snapshot: onTheWire }],
      nextToken: 'after-snap-1',
    });
    await ask('listSnapshots', {
      maxEntries: 3,
      startingToken: 'from',
      snapshotId: 'SNAP/1',
      sourceVolumeId: 'PVC-1',
      secrets: { key: 'hidden' },
    });
    expect(asked()).toEqual([
      { verb: 'listSnapshots', request: { maxEntries: 0, startingToken: '' } },
      {
        verb: 'listSnapshots',
        request: { maxEntries: 3, startingToken: 'from', snapshotId: 'SNAP/1', sourceVolumeId: 'PVC-1' },
      },
    ]);
  });

  const badIds = ['', 'a'.repeat(129), '..', '../snap_1', 'snap_..', '/etc', 'a/b', 'a\0b', 'SNAP-1'];
  it.each(
    ['deleteSnapshot', 'getSnapshot'].flatMap((method) =>
      badIds.map((snapshotId) => [method, snapshotId.slice(0, 20), snapshotId] as const),
    ),
  )('refuses %s of the id %j and does not ask the driver', async (method, _id, snapshotId) => {
    const { code, details } = await refusal(ask(method, { snapshotId }));
    expect({ code, details }).toEqual({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/^snapshot_id /) as string,
    });
    expect(asked()).toEqual([]);
  });

  it.each([
    ['createSnapshot', 'no name', { ...createRequest, name: '' }, /^name is missing/],
    ['createSnapshot', 'a name of 129 bytes', { ...createRequest, name: 'n'.repeat(129) }, /^name has 129/],
    ['createSnapshot', 'a name with NUL', { ...createRequest, name: 'a\0' }, /^name contains control/],
    ['createSnapshot', 'no source', { name: 'snapshot-1' }, /^source_volume_id is missing/],
    [
      'createSnapshot',
      'a source that is a path',
      { ...createRequest, sourceVolumeId: '/etc' },
      /^source_volume_id "\/etc" cannot be a volume/,
    ],
    [
      'createSnapshot',
      'parameters of more than 4 KiB',
      { ...createRequest, parameters: { a: 'x'.repeat(4096) } },
      /^parameters has 4097 bytes/,
    ],
    ['listSnapshots', 'a negative page', { maxEntries: -1 }, /^max_entries is negative: -1/],
    ['listSnapshots', 'a filter of 129 bytes', { snapshotId: 'a'.repeat(129) }, /^snapshot_id has 129/],
  ] as const)('refuses %s with %s and does not ask the driver', async (method, _case, request, message) => {
    const { code, details } = await refusal(ask(method, request));
    expect({ code, details }).toEqual({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(message) as string,
    });
    expect(asked()).toEqual([]);
  });

  it.each([
    ['createSnapshot', 'already-exists-different', 'ALREADY_EXISTS'],
    ['createSnapshot', 'not-consistent', 'FAILED_PRECONDITION'],
    ['getSnapshot', 'snapshot-not-found', 'NOT_FOUND'],
    ['listSnapshots', 'bad-token', 'ABORTED'],
    ['deleteSnapshot', 'still-removing', 'ABORTED'],
    ['expandVolume', 'size-out-of-range', 'OUT_OF_RANGE'],
  ] as const)('answers what the driver says of %s: %s is %s', async (verb, reason, code) => {
    await using refusing = await serveDrivers({
      controller: {
        [verb]: async () => {
          throw new StorageError(reason, 'because');
        },
      },
    });
    const method = verb === 'expandVolume' ? 'controllerExpandVolume' : verb;
    const request =
      verb === 'expandVolume'
        ? { volumeId: 'pvc-1', capacityRange: { requiredBytes: '1' } }
        : verb === 'listSnapshots'
          ? {}
          : { ...createRequest, snapshotId: 'snap-1' };
    const answer = await refusal(send(refusing.clients.controller, method, request));
    expect(answer).toEqual({ code: status[code], details: 'because' });
  });
});
