import { Metadata, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { aVolume } from '../../support/recording-drivers.ts';
import { refusal, send, serveDrivers } from '../../support/served-driver.ts';

const mountable = {
  accessMode: { mode: 'SINGLE_NODE_WRITER' },
  mount: { fsType: 'ext4', mountFlags: ['noatime'] },
};
const createRequest = { name: 'pvc-1', volumeCapabilities: [mountable] };

let served: Awaited<ReturnType<typeof serveDrivers>>;
beforeAll(async () => {
  served = await serveDrivers();
});
afterAll(async () => served[Symbol.asyncDispose]());
beforeEach(() => served.controllerCalls.splice(0));

const ask = (method: string, request: object, metadata?: Metadata) =>
  send(served.clients.controller, method, request, metadata);

describe('the Controller service', () => {
  it('advertises what the driver says it can do', async () => {
    expect(await ask('controllerGetCapabilities', {})).toMatchObject({
      capabilities: [
        { rpc: { type: 'CREATE_DELETE_VOLUME' } },
        { rpc: { type: 'LIST_VOLUMES' } },
        { rpc: { type: 'GET_CAPACITY' } },
      ],
    });
  });

  it('hands a whole CreateVolume to the driver and its volume back, to the last byte of an int64', async () => {
    const answer = await ask('createVolume', {
      ...createRequest,
      capacityRange: { requiredBytes: '9223372036854775807', limitBytes: '0' },
      parameters: { backend: 'directory' },
      secrets: { key: 'hidden' },
      accessibilityRequirements: { requisite: [{ segments: { zone: 'a' } }], preferred: [] },
      volumeContentSource: { volume: { volumeId: 'pvc-0' } },
      mutableParameters: { limit: 'advisory' },
    });
    expect(served.controllerCalls.map(({ request }) => request)).toEqual([
      {
        name: 'pvc-1',
        capabilities: [
          {
            accessMode: 'SINGLE_NODE_WRITER',
            access: { kind: 'mount', fsType: 'ext4', mountFlags: ['noatime'] },
          },
        ],
        capacityRange: { requiredBytes: 9223372036854775807n, limitBytes: 0n },
        parameters: { backend: 'directory' },
        accessibility: { requisite: [{ zone: 'a' }], preferred: [] },
        contentSource: { kind: 'volume', volumeId: 'pvc-0' },
        mutableParameters: { limit: 'advisory' },
      },
    ]);
    expect(answer).toMatchObject({
      volume: {
        volumeId: aVolume.volumeId,
        capacityBytes: '9223372036854775807',
        volumeContext: aVolume.volumeContext,
        accessibleTopology: [{ segments: { 'topology.loam.dev/node': 'node-a' } }],
      },
    });
  });

  it.each([
    ['no name', { ...createRequest, name: '' }, /^name is missing/],
    ['a name of 129 bytes', { ...createRequest, name: 'n'.repeat(129) }, /^name has 129 bytes/],
    ['a name of 65 two-byte letters', { ...createRequest, name: 'é'.repeat(65) }, /^name has 130 bytes/],
    ['a name with NUL', { ...createRequest, name: 'pvc\0' }, /^name contains control characters/],
    ['no capabilities', { name: 'pvc-1' }, /^volume_capabilities is missing/],
    [
      'a capability without access mode',
      { name: 'pvc-1', volumeCapabilities: [{ mount: {} }] },
      /^volume_capabilities\[0\]\.access_mode/,
    ],
    [
      'an access mode of a later CSI',
      { name: 'pvc-1', volumeCapabilities: [{ mount: {}, accessMode: { mode: 99 } }] },
      /^volume_capabilities\[0\]\.access_mode/,
    ],
    [
      'a capability that is neither mount nor block',
      { name: 'pvc-1', volumeCapabilities: [{ accessMode: { mode: 'SINGLE_NODE_WRITER' } }] },
      /^volume_capabilities\[0\]\.access_type/,
    ],
    [
      'mount flags of more than 4 KiB',
      {
        name: 'pvc-1',
        volumeCapabilities: [{ ...mountable, mount: { mountFlags: Array(41).fill('f'.repeat(100)) } }],
      },
      /mount_flags has 4100 bytes/,
    ],
    [
      'a negative size',
      { ...createRequest, capacityRange: { requiredBytes: '-1' } },
      /^capacity_range\.required_bytes is negative: -1/,
    ],
    [
      'a negative limit',
      { ...createRequest, capacityRange: { limitBytes: '-9223372036854775808' } },
      /limit_bytes is negative/,
    ],
    [
      'parameters of more than 4 KiB',
      { ...createRequest, parameters: { a: 'x'.repeat(4096) } },
      /^parameters has 4097 bytes/,
    ],
    [
      'mutable parameters of more than 4 KiB',
      { ...createRequest, mutableParameters: { a: 'x'.repeat(4096) } },
      /^mutable_parameters has 4097 bytes/,
    ],
    [
      'a source that is neither snapshot nor volume',
      { ...createRequest, volumeContentSource: {} },
      /^volume_content_source says neither snapshot nor volume/,
    ],
    [
      'a source snapshot without an id',
      { ...createRequest, volumeContentSource: { snapshot: {} } },
      /^volume_content_source\.snapshot\.snapshot_id is missing/,
    ],
    [
      'a source volume that is a path',
      { ...createRequest, volumeContentSource: { volume: { volumeId: '../pvc-0' } } },
      /^volume_content_source\.volume\.volume_id "\.\.\/pvc-0" cannot be a volume/,
    ],
  ])('refuses CreateVolume with %s and does not ask the driver', async (_case, request, message) => {
    const { code, details } = await refusal(ask('createVolume', request));
    expect({ code, details }).toEqual({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(message) as string,
    });
    expect(served.controllerCalls).toEqual([]);
  });

  it('takes a name of 128 bytes and one in any script', async () => {
    await ask('createVolume', { ...createRequest, name: 'n'.repeat(128) });
    await ask('createVolume', { ...createRequest, name: 'объём/один' });
    expect(served.controllerCalls).toHaveLength(2);
  });

  const badIds: readonly (readonly [string, string, RegExp])[] = [
    ['no id', '', /^volume_id is missing/],
    ['an id of 129 bytes', 'a'.repeat(129), /^volume_id has 129 bytes/],
    ['two dots', '..', /^volume_id ".." cannot be a volume/],
    ['dots in the middle', 'a..b', /^volume_id "a..b" cannot be/],
    ['an absolute path', '/etc', /^volume_id "\/etc" cannot be/],
    ['a slash', 'a/b', /^volume_id "a\/b" cannot be/],
    ['a NUL', 'a\0b', /^volume_id "a\\u0000b" cannot be/],
    ['unicode', 'tömb', /^volume_id "tömb" cannot be/],
    ['capitals', 'PVC-1', /^volume_id "PVC-1" cannot be/],
  ];
  const idMethods = [
    ['deleteVolume', {}],
    ['controllerGetVolume', {}],
    ['validateVolumeCapabilities', { volumeCapabilities: [mountable] }],
    ['controllerExpandVolume', { capacityRange: { requiredBytes: '1' } }],
    ['controllerModifyVolume', {}],
  ] as const;
  it.each(idMethods.flatMap(([method, rest]) => badIds.map((bad) => [method, rest, ...bad] as const)))(
    'refuses %s with %s %s and does not ask the driver',
    async (method, rest, _case, volumeId, message) => {
      const { code, details } = await refusal(ask(method, { ...rest, volumeId }));
      expect({ code, details }).toEqual({
        code: status.INVALID_ARGUMENT,
        details: expect.stringMatching(message) as string,
      });
      expect(served.controllerCalls).toEqual([]);
    },
  );

  it("deletes by id, with the pool's uuid where the caller's metadata names one", async () => {
    await ask('deleteVolume', { volumeId: 'pvc-1', secrets: { key: 'hidden' } });
    const metadata = new Metadata();
    metadata.set('loam-pool-uuid', 'uuid-1');
    await ask('deleteVolume', { volumeId: 'pvc-1' }, metadata);
    expect(served.controllerCalls.map(({ request }) => request)).toEqual([
      { volumeId: 'pvc-1' },
      { volumeId: 'pvc-1', volumeContext: { 'loam.dev/pool-uuid': 'uuid-1' } },
    ]);
  });

  it('confirms capabilities by repeating them, and leaves confirmed unset where the driver says no', async () => {
    const request = {
      volumeId: 'pvc-1',
      volumeCapabilities: [mountable],
      parameters: { a: 'b' },
      volumeContext: { c: 'd' },
    };
    expect(await ask('validateVolumeCapabilities', request)).toMatchObject({
      confirmed: { volumeCapabilities: [mountable], parameters: { a: 'b' }, volumeContext: { c: 'd' } },
    });
    await using saysNo = await serveDrivers({
      controller: {
        validateVolumeCapabilities: async () => ({ confirmed: false, message: 'no block here' }),
      },
    });
    const answer = await send(saysNo.clients.controller, 'validateVolumeCapabilities', request);
    expect(answer).toEqual({ message: 'no block here' });
    const mutable = { ...request, mutableParameters: { limit: 'advisory' } };
    expect(await ask('validateVolumeCapabilities', mutable)).toEqual({
      message: 'mutable_parameters cannot be confirmed; ask without them',
    });
    const nothing = { volumeId: 'pvc-1', volumeCapabilities: [] };
    expect((await refusal(ask('validateVolumeCapabilities', nothing))).details).toMatch(
      /^volume_capabilities is missing/,
    );
  });

  it('lists in pages with conditions, refuses a negative page and passes on what the driver thinks of a token', async () => {
    expect(await ask('listVolumes', { maxEntries: 1, startingToken: 'from' })).toMatchObject({
      entries: [
        { volume: { volumeId: 'pvc-1' }, status: { volumeCondition: { abnormal: false, message: 'fine' } } },
      ],
      nextToken: 'after-pvc-1',
    });
    expect(served.controllerCalls[0]?.request).toEqual({ maxEntries: 1, startingToken: 'from' });
    expect((await refusal(ask('listVolumes', { maxEntries: -1 }))).code).toBe(status.INVALID_ARGUMENT);
    await using forgetful = await serveDrivers({
      controller: {
        listVolumes: async () => {
          throw new StorageError('bad-token', 'not a token of ours');
        },
      },
    });
    expect((await refusal(send(forgetful.clients.controller, 'listVolumes', {}))).code).toBe(status.ABORTED);
  });

  it('tells one volume with its condition', async () => {
    expect(await ask('controllerGetVolume', { volumeId: 'pvc-1' })).toMatchObject({
      volume: { volumeId: 'pvc-1' },
      status: { volumeCondition: { abnormal: true, message: 'image is short' } },
    });
  });

  it('answers GetCapacity asked bare and asked with class, capabilities and place', async () => {
    const answer = await ask('getCapacity', {});
    expect(answer).toEqual({
      availableCapacity: '1000000000000',
      maximumVolumeSize: { value: '100000000000' },
      minimumVolumeSize: { value: '1' },
    });
    await ask('getCapacity', {
      volumeCapabilities: [mountable],
      parameters: { 'csi.storage.k8s.io/fstype': 'xfs' },
      accessibleTopology: { segments: { 'topology.loam.dev/node': 'node-a' } },
    });
    expect(served.controllerCalls.map(({ request }) => request)).toMatchObject([
      { capabilities: [], parameters: {} },
      {
        parameters: { 'csi.storage.k8s.io/fstype': 'xfs' },
        accessibleTopology: { 'topology.loam.dev/node': 'node-a' },
      },
    ]);
    expect(served.controllerCalls[0]?.request).not.toHaveProperty('accessibleTopology');
  });

  it.each(['controllerPublishVolume', 'controllerUnpublishVolume'])(
    'answers UNIMPLEMENTED to %s, which it does not advertise',
    async (method) => {
      expect((await refusal(ask(method, { volumeId: 'pvc-1' }))).code).toBe(status.UNIMPLEMENTED);
    },
  );
});
