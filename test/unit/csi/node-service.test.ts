import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { nodeHandlers } from '../../../src/csi/node-service.ts';
import type { NodeDriver } from '../../../src/model/node-driver.ts';
import { recordingNode } from '../../support/recording-drivers.ts';
import { refusal, send, serveDrivers } from '../../support/served-driver.ts';

const capability = {
  accessMode: { mode: 'SINGLE_NODE_SINGLE_WRITER' },
  mount: { fsType: 'xfs', mountFlags: ['noatime'], volumeMountGroup: '1000' },
};
const readCapability = {
  accessMode: 'SINGLE_NODE_SINGLE_WRITER',
  access: { kind: 'mount', fsType: 'xfs', mountFlags: ['noatime'], volumeMountGroup: '1000' },
};
const staging = {
  volumeId: 'pvc-1',
  stagingTargetPath: '/stage',
  volumeCapability: capability,
  volumeContext: { a: 'b' },
};
const publishing = { ...staging, targetPath: '/pods/target', readonly: true };

let served: Awaited<ReturnType<typeof serveDrivers>>;
beforeAll(async () => {
  served = await serveDrivers();
});
afterAll(async () => served[Symbol.asyncDispose]());
beforeEach(() => served.nodeCalls.splice(0));

const ask = (method: string, request: object) => send(served.clients.node, method, request);
const asked = () => served.nodeCalls.map(({ verb, request }) => ({ verb, request }));

describe('the Node service', () => {
  it('tells who and where the node is', async () => {
    expect(await ask('nodeGetInfo', {})).toEqual({
      nodeId: 'node-a',
      maxVolumesPerNode: '7',
      accessibleTopology: { segments: { 'topology.loam.dev/node': 'node-a' } },
    });
  });

  it('advertises what the driver has verbs for', async () => {
    const types = [
      'STAGE_UNSTAGE_VOLUME',
      'SINGLE_NODE_MULTI_WRITER',
      'EXPAND_VOLUME',
      'GET_VOLUME_STATS',
      'VOLUME_CONDITION',
    ];
    expect(await ask('nodeGetCapabilities', {})).toEqual({
      capabilities: types.map((type) => ({ type: 'rpc', rpc: { type } })),
    });
  });

  it('advertises nothing about staging or growth for a driver that has no such verbs', async () => {
    const verbs = Object.entries(recordingNode().driver).filter(
      ([verb]) => !['stage', 'expand', 'stats'].includes(verb),
    );
    const handlers = nodeHandlers(Object.fromEntries(verbs) as unknown as NodeDriver);
    const call = { signal: new AbortController().signal, header: () => undefined };
    expect(await handlers.NodeGetCapabilities?.({}, call)).toEqual({
      capabilities: [{ rpc: { type: 'SINGLE_NODE_MULTI_WRITER' } }],
    });
  });

  it('hands stage, publish, unpublish and unstage to the driver', async () => {
    await ask('nodeStageVolume', { ...staging, secrets: { key: 'hidden' }, publishContext: { c: 'd' } });
    await ask('nodePublishVolume', publishing);
    await ask('nodeUnpublishVolume', { volumeId: 'pvc-1', targetPath: '/pods/target' });
    await ask('nodeUnstageVolume', { volumeId: 'pvc-1', stagingTargetPath: '/stage' });
    const staged = {
      volumeId: 'pvc-1',
      stagingTargetPath: '/stage',
      capability: readCapability,
      volumeContext: { a: 'b' },
    };
    expect(asked()).toEqual([
      { verb: 'stage', request: staged },
      { verb: 'publish', request: { ...staged, targetPath: '/pods/target', readonly: true } },
      { verb: 'unpublish', request: { volumeId: 'pvc-1', targetPath: '/pods/target' } },
      { verb: 'unstage', request: { volumeId: 'pvc-1', stagingTargetPath: '/stage' } },
    ]);
  });

  it('publishes a device where the capability says block, writable unless it says otherwise', async () => {
    await ask('nodePublishVolume', {
      ...publishing,
      readonly: false,
      volumeCapability: { accessMode: { mode: 'SINGLE_NODE_WRITER' }, block: {} },
    });
    expect(asked()).toMatchObject([
      { request: { readonly: false, capability: { access: { kind: 'block' } } } },
    ]);
  });

  it('publishes what the pod itself describes without a staging path, and nothing else so', async () => {
    const { stagingTargetPath: _, ...unstaged } = publishing;
    const ephemeral = 'csi.storage.k8s.io/ephemeral';
    await ask('nodePublishVolume', { ...unstaged, volumeContext: { [ephemeral]: 'true', size: '1Gi' } });
    expect(asked()).toMatchObject([
      { request: { stagingTargetPath: '', volumeContext: { [ephemeral]: 'true', size: '1Gi' } } },
    ]);
    const persistent = { ...unstaged, volumeContext: { [ephemeral]: 'false' } };
    const { code, details } = await refusal(ask('nodePublishVolume', persistent));
    expect({ code, details }).toEqual({
      code: status.FAILED_PRECONDITION,
      details: expect.stringMatching(/^staging_target_path is missing/) as string,
    });
  });

  it('tells usage to the last byte, and the condition', async () => {
    expect(await ask('nodeGetVolumeStats', { volumeId: 'pvc-1', volumePath: '/pods/target' })).toEqual({
      usage: [{ unit: 'BYTES', available: '4611686018427387904', total: '9223372036854775807', used: '5' }],
      volumeCondition: { abnormal: false, message: 'fine' },
    });
  });

  const methods = [
    ['nodeStageVolume', staging],
    ['nodeUnstageVolume', { volumeId: 'pvc-1', stagingTargetPath: '/stage' }],
    ['nodePublishVolume', publishing],
    ['nodeUnpublishVolume', { volumeId: 'pvc-1', targetPath: '/pods/target' }],
    ['nodeGetVolumeStats', { volumeId: 'pvc-1', volumePath: '/pods/target' }],
    ['nodeExpandVolume', { volumeId: 'pvc-1', volumePath: '/pods/target' }],
  ] as const;
  const badIds = ['', 'a'.repeat(129), '..', '../pvc-1', '/etc', 'a/b', 'a\0b', 'tömb', '.', '-a'];
  it.each(
    methods.flatMap(([method, request]) =>
      badIds.map((volumeId) => [method, volumeId.slice(0, 20), { ...request, volumeId }] as const),
    ),
  )('refuses %s of the volume id %j and does not ask the driver', async (method, _id, request) => {
    const { code, details } = await refusal(ask(method, request));
    expect({ code, details }).toEqual({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/^volume_id /) as string,
    });
    expect(asked()).toEqual([]);
  });

  it.each([
    [
      'nodeStageVolume',
      'no staging path',
      { ...staging, stagingTargetPath: '' },
      'INVALID_ARGUMENT',
      /^staging_target_path is missing/,
    ],
    [
      'nodeStageVolume',
      'a relative staging path',
      { ...staging, stagingTargetPath: 'stage' },
      'INVALID_ARGUMENT',
      /^staging_target_path .* not absolute/,
    ],
    [
      'nodeStageVolume',
      'a NUL in the staging path',
      { ...staging, stagingTargetPath: '/a\0b' },
      'INVALID_ARGUMENT',
      /contains a NUL/,
    ],
    [
      'nodeStageVolume',
      'no capability',
      { ...staging, volumeCapability: undefined },
      'INVALID_ARGUMENT',
      /^volume_capability is missing/,
    ],
    [
      'nodeStageVolume',
      'a context of more than 4 KiB',
      { ...staging, volumeContext: { k: 'v'.repeat(4096) } },
      'INVALID_ARGUMENT',
      /^volume_context has 4097/,
    ],
    [
      'nodeUnstageVolume',
      'no staging path',
      { volumeId: 'pvc-1' },
      'INVALID_ARGUMENT',
      /^staging_target_path is missing/,
    ],
    [
      'nodePublishVolume',
      'no target path',
      { ...publishing, targetPath: '' },
      'INVALID_ARGUMENT',
      /^target_path is missing/,
    ],
    [
      'nodePublishVolume',
      'a target path upwards',
      { ...publishing, targetPath: '/pods/../etc' },
      'INVALID_ARGUMENT',
      /^target_path .* steps upwards/,
    ],
    [
      'nodePublishVolume',
      'a target path of 5000 bytes',
      { ...publishing, targetPath: `/${'a'.repeat(4999)}` },
      'INVALID_ARGUMENT',
      /^target_path has 5000 bytes/,
    ],
    [
      'nodePublishVolume',
      'no capability',
      { ...publishing, volumeCapability: undefined },
      'INVALID_ARGUMENT',
      /^volume_capability is missing/,
    ],
    [
      'nodePublishVolume',
      'no staging path',
      { ...publishing, stagingTargetPath: '' },
      'FAILED_PRECONDITION',
      /^staging_target_path is missing: volume pvc-1 has to be staged/,
    ],
    [
      'nodeUnpublishVolume',
      'no target path',
      { volumeId: 'pvc-1' },
      'INVALID_ARGUMENT',
      /^target_path is missing/,
    ],
    [
      'nodeGetVolumeStats',
      'no volume path',
      { volumeId: 'pvc-1' },
      'INVALID_ARGUMENT',
      /^volume_path is missing/,
    ],
    [
      'nodeExpandVolume',
      'no volume path',
      { volumeId: 'pvc-1' },
      'INVALID_ARGUMENT',
      /^volume_path is missing/,
    ],
    [
      'nodeExpandVolume',
      'a negative size',
      { volumeId: 'pvc-1', volumePath: '/pods/target', capacityRange: { requiredBytes: '-1' } },
      'INVALID_ARGUMENT',
      /^capacity_range\.required_bytes is negative: -1/,
    ],
    [
      'nodeGetVolumeStats',
      'a NUL in the volume path',
      { volumeId: 'pvc-1', volumePath: '/a\0' },
      'INVALID_ARGUMENT',
      /^volume_path contains a NUL/,
    ],
  ] as const)(
    'refuses %s with %s and does not ask the driver',
    async (method, _case, request, code, message) => {
      const answer = await refusal(ask(method, request));
      expect(answer).toEqual({ code: status[code], details: expect.stringMatching(message) as string });
      expect(asked()).toEqual([]);
    },
  );

  it('lets the driver decide about a relative path of stats, which names nothing of ours', async () => {
    await ask('nodeGetVolumeStats', { volumeId: 'pvc-1', volumePath: 'some/path' });
    expect(asked()).toMatchObject([{ verb: 'stats', request: { volumePath: 'some/path' } }]);
  });

  it('grows what kubelet names by its path, asked with a whole request and as csi-sanity asks', async () => {
    const place = { volumeId: 'pvc-1', volumePath: '/pods/target' };
    const whole = {
      ...place,
      stagingTargetPath: '/stage',
      capacityRange: { requiredBytes: '9223372036854775807' },
      volumeCapability: capability,
      secrets: { key: 'hidden' },
    };
    expect(await ask('nodeExpandVolume', whole)).toEqual({ capacityBytes: '9223372036854775807' });
    await ask('nodeExpandVolume', place);
    expect(asked()).toEqual([
      { verb: 'expand', request: { ...place, requiredBytes: (1n << 63n) - 1n } },
      { verb: 'expand', request: { ...place, requiredBytes: 0n } },
    ]);
  });

  it('answers OUT_OF_RANGE where the volume is larger than the caller allows', async () => {
    await using large = await serveDrivers({ node: { expand: async () => 4097n } });
    const request = {
      volumeId: 'pvc-1',
      volumePath: '/pods/target',
      capacityRange: { requiredBytes: '1', limitBytes: '4096' },
    };
    const { code, details } = await refusal(send(large.clients.node, 'nodeExpandVolume', request));
    expect({ code, details }).toEqual({
      code: status.OUT_OF_RANGE,
      details: expect.stringContaining('4097 bytes, more than capacity_range.limit_bytes (4096)') as string,
    });
  });
});
