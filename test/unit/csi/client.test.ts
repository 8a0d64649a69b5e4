import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectCsiDriver } from '../../../src/csi/client.ts';
import { connectNodeDriver } from '../../../src/csi/node-client.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { statusCodeOf } from '../../../src/model/status-code.ts';
import { failureOf } from '../../support/failure-of.ts';
import { aSnapshot, aVolume } from '../../support/recording-drivers.ts';
import { anyCall, serveDrivers } from '../../support/served-driver.ts';

const capability = {
  accessMode: 'SINGLE_NODE_WRITER',
  access: { kind: 'mount', fsType: '', mountFlags: [] },
} as const;
const anyRequest = {
  name: 'pvc-1',
  capacityRange: { requiredBytes: 0n, limitBytes: 0n },
  capabilities: [capability],
  parameters: {},
};
const device = { accessMode: 'SINGLE_NODE_MULTI_WRITER', access: { kind: 'block' } } as const;

let served: Awaited<ReturnType<typeof serveDrivers>>;
let driver: ReturnType<typeof connectCsiDriver>;
let node: ReturnType<typeof connectNodeDriver>;
beforeAll(async () => {
  served = await serveDrivers();
  driver = connectCsiDriver(served.socketPath);
  node = connectNodeDriver(served.socketPath);
});
afterAll(async () => {
  driver.close();
  node.close();
  await served[Symbol.asyncDispose]();
});
beforeEach(() => {
  served.controllerCalls.splice(0);
  served.nodeCalls.splice(0);
});

describe('a driver behind a socket', () => {
  it('tells the same about itself as in this process', async () => {
    expect(await driver.getPluginInfo(anyCall())).toEqual({ name: 'loam.dev', vendorVersion: '0.1.0' });
    expect([...(await driver.getControllerCapabilities(anyCall()))]).toEqual([
      'CREATE_DELETE_VOLUME',
      'LIST_VOLUMES',
      'GET_CAPACITY',
    ]);
    const info = await node.nodeInfo(anyCall());
    expect(info).toEqual({
      nodeId: 'node-a',
      maxVolumesPerNode: 7,
      accessibleTopology: { 'topology.loam.dev/node': 'node-a' },
    });
  });

  it('is asked for exactly the volume that the caller asked for', async () => {
    const request = {
      name: 'pvc-1',
      capacityRange: { requiredBytes: (1n << 62n) + 1n, limitBytes: (1n << 63n) - 1n },
      capabilities: [capability, device],
      parameters: { backend: 'auto' },
      accessibility: { requisite: [{ a: 'b' }], preferred: [{ a: 'b' }] },
    };
    expect(await driver.createVolume(request, anyCall())).toEqual(aVolume);
    expect(served.controllerCalls.map(({ request }) => request)).toEqual([request]);
  });

  it("carries the pool's uuid of a delete, and nothing else of the volume's context", async () => {
    const volumeContext = { 'loam.dev/pool-uuid': 'uuid-1', other: 'x' };
    await driver.deleteVolume({ volumeId: 'pvc-1', volumeContext }, anyCall());
    await driver.deleteVolume({ volumeId: 'pvc-2' }, anyCall());
    expect(served.controllerCalls.map(({ request }) => request)).toEqual([
      { volumeId: 'pvc-1', volumeContext: { 'loam.dev/pool-uuid': 'uuid-1' } },
      { volumeId: 'pvc-2' },
    ]);
  });

  it('answers capacity asked for a place and for everywhere', async () => {
    const request = { capabilities: [device], parameters: { pool: 'fast' }, accessibleTopology: { a: 'b' } };
    const capacity = { availableBytes: 10n ** 12n, maximumVolumeBytes: 10n ** 11n, minimumVolumeBytes: 1n };
    expect(await driver.getCapacity(request, anyCall())).toEqual(capacity);
    expect(await driver.getCapacity({ capabilities: [], parameters: {} }, anyCall())).toEqual(capacity);
    expect(served.controllerCalls.map(({ request }) => request)).toEqual([
      request,
      { capabilities: [], parameters: {} },
    ]);
  });

  it('refuses with the same code and message', async () => {
    const thrown = new StorageError('already-exists-different', 'volume pvc-1 has 5 GiB');
    await using refusing = await serveDrivers({
      controller: { createVolume: async () => Promise.reject(thrown) },
    });
    const remote = connectCsiDriver(refusing.socketPath);
    const error = await failureOf(remote.createVolume(anyRequest, anyCall()));
    expect([statusCodeOf(error), (error as Error).message]).toEqual([
      'ALREADY_EXISTS',
      'volume pvc-1 has 5 GiB',
    ]);
    remote.close();
  });

  it('is no CSI answer when it says OK without a volume: nobody knows what happened', async () => {
    await using broken = await serveDrivers({
      controller: { createVolume: async () => ({ ...aVolume, volumeId: '' }) },
    });
    const remote = connectCsiDriver(broken.socketPath);
    const error = await failureOf(remote.createVolume(anyRequest, anyCall()));
    expect(error).toBeInstanceOf(Error);
    expect(statusCodeOf(error)).toBeUndefined();
    remote.close();
  });

  it('sends nothing for a caller that has given up already', async () => {
    const call = { signal: AbortSignal.abort() };
    const error: unknown = await driver
      .deleteVolume({ volumeId: 'pvc-1' }, call)
      .catch((error: unknown) => error);
    expect(statusCodeOf(error)).toBe('CANCELLED');
    expect(served.controllerCalls).toEqual([]);
  });

  it.each([
    ['a snapshot', { kind: 'snapshot', snapshotId: 'snap-1' }],
    ['another volume', { kind: 'volume', volumeId: 'pvc-0' }],
  ] as const)('is asked for a volume made of %s, and its echo comes back', async (_what, contentSource) => {
    const request = { ...anyRequest, contentSource, mutableParameters: { limit: 'advisory' } };
    const made = { ...aVolume, contentSource };
    await using copying = await serveDrivers({ controller: { createVolume: async () => made } });
    const remote = connectCsiDriver(copying.socketPath);
    expect(await remote.createVolume(request, anyCall())).toEqual(made);
    remote.close();
    await driver.createVolume(request, anyCall());
    expect(served.controllerCalls.map(({ request }) => request)).toEqual([request]);
  });

  it('grows and is modified as in this process', async () => {
    const request = {
      volumeId: 'pvc-1',
      capacityRange: { requiredBytes: (1n << 62n) + 1n, limitBytes: (1n << 63n) - 1n },
      capability: device,
    };
    const answer = { capacityBytes: (1n << 62n) + 1n, nodeExpansionRequired: true };
    expect(await driver.expandVolume(request, anyCall())).toEqual(answer);
    const { capability: _, ...bare } = request;
    expect(await driver.expandVolume(bare, anyCall())).toEqual(answer);
    await driver.modifyVolume({ volumeId: 'pvc-1', mutableParameters: { onDelete: 'scrub' } }, anyCall());
    expect(await node.expand({ volumeId: 'pvc-1', volumePath: '/t', requiredBytes: 5n }, anyCall())).toBe(5n);
    expect(served.controllerCalls.map(({ verb, request }) => ({ verb, request }))).toEqual([
      { verb: 'expandVolume', request },
      { verb: 'expandVolume', request: bare },
      { verb: 'modifyVolume', request: { volumeId: 'pvc-1', mutableParameters: { onDelete: 'scrub' } } },
    ]);
    expect(served.nodeCalls.map(({ request }) => request)).toEqual([
      { volumeId: 'pvc-1', volumePath: '/t', requiredBytes: 5n },
    ]);
  });

  it('takes, lists and deletes snapshots as in this process, to the millisecond', async () => {
    const request = { name: 'snapshot-1', sourceVolumeId: 'pvc-1', parameters: { consistency: 'accept' } };
    expect(await driver.createSnapshot(request, anyCall())).toEqual(aSnapshot);
    const everything = { maxEntries: 0, startingToken: '' };
    const filtered = { maxEntries: 2, startingToken: 'x', snapshotId: 'snap-1', sourceVolumeId: 'pvc-1' };
    const page = { entries: [aSnapshot], nextToken: 'after-snap-1' };
    expect(await driver.listSnapshots(everything, anyCall())).toEqual(page);
    expect(await driver.listSnapshots(filtered, anyCall())).toEqual(page);
    await driver.deleteSnapshot('snap-1', anyCall());
    expect(served.controllerCalls.map(({ verb, request }) => ({ verb, request }))).toEqual([
      { verb: 'createSnapshot', request },
      { verb: 'listSnapshots', request: everything },
      { verb: 'listSnapshots', request: filtered },
      { verb: 'deleteSnapshot', request: 'snap-1' },
    ]);
  });

  it('says that a snapshot is still being copied, and where it tells no time says none', async () => {
    const half = { ...aSnapshot, isReady: false, createdAtMs: 0, sizeBytes: 0n };
    await using copying = await serveDrivers({ controller: { createSnapshot: async () => half } });
    const remote = connectCsiDriver(copying.socketPath);
    const request = { name: 'snapshot-1', sourceVolumeId: 'pvc-1', parameters: {} };
    expect(await remote.createSnapshot(request, anyCall())).toEqual(half);
    remote.close();
  });

  it('is no CSI answer when it says OK without a snapshot', async () => {
    await using broken = await serveDrivers({
      controller: { createSnapshot: async () => ({ ...aSnapshot, snapshotId: '' }) },
    });
    const remote = connectCsiDriver(broken.socketPath);
    const request = { name: 'snapshot-1', sourceVolumeId: 'pvc-1', parameters: {} };
    const error = await failureOf(remote.createSnapshot(request, anyCall()));
    expect(error).toBeInstanceOf(Error);
    expect(statusCodeOf(error)).toBeUndefined();
    remote.close();
  });

  it('stages, publishes, measures and takes back as in this process', async () => {
    const staging = { volumeId: 'pvc-1', stagingTargetPath: '/stage', capability, volumeContext: { a: 'b' } };
    const publishing = { ...staging, capability: device, targetPath: '/target', readonly: true };
    await node.stage(staging, anyCall());
    await node.publish(publishing, anyCall());
    expect(await node.stats({ volumeId: 'pvc-1', volumePath: '/target' }, anyCall())).toEqual({
      usage: [{ unit: 'BYTES', available: 1n << 62n, total: (1n << 63n) - 1n, used: 5n }],
      condition: { abnormal: false, message: 'fine' },
    });
    await node.unpublish({ volumeId: 'pvc-1', targetPath: '/target' }, anyCall());
    await node.unstage({ volumeId: 'pvc-1', stagingTargetPath: '/stage' }, anyCall());
    expect(served.nodeCalls.map(({ verb, request }) => ({ verb, request }))).toEqual([
      { verb: 'stage', request: staging },
      { verb: 'publish', request: publishing },
      { verb: 'stats', request: { volumeId: 'pvc-1', volumePath: '/target' } },
      { verb: 'unpublish', request: { volumeId: 'pvc-1', targetPath: '/target' } },
      { verb: 'unstage', request: { volumeId: 'pvc-1', stagingTargetPath: '/stage' } },
    ]);
  });
});
