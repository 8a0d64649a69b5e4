import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { knownParameters, metadataKeys } from '../../../src/model/class-parameters.ts';
import { mutableKeys } from '../../../src/model/mutable-parameters.ts';
import { fieldName, HostileNode, type Answer } from '../../support/hostile-node.ts';
import { hostileText, hostileTexts } from '../../support/hostile-texts.ts';
import { rpcs, textFields, withText, type FieldPath, type Rpc } from '../../support/rpc-fields.ts';

const mount = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } };
const parameters = { backend: 'directory', limit: 'advisory' };
const range = { requiredBytes: '1048576' };
/** OK and what a caller can be told. Never UNKNOWN, INTERNAL or DATA_LOSS, and DEADLINE_EXCEEDED would be no answer at all. */
const decentCodes = [0, 3, 5, 6, 8, 9, 10, 11, 12, 14];

let node: HostileNode;
let count = 0;
beforeAll(async () => {
  node = await HostileNode.start();
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
});

/** For each RPC a request that is served, or refused for nothing but what it asks for: one field of it is then made hostile. */
function soundRequests(): Readonly<Record<string, object>> {
  const volumeId = 'pvc-mine';
  const at = (name: string): string => node.lab.kubeletPath(name);
  const volumeCapability = mount;
  return {
    GetPluginInfo: {},
    GetPluginCapabilities: {},
    Probe: {},
    CreateVolume: { name: `pvc-${count}`, volumeCapabilities: [mount], capacityRange: range, parameters },
    DeleteVolume: { volumeId: 'pvc-never' },
    ControllerPublishVolume: { volumeId, nodeId: 'node-a', volumeCapability },
    ControllerUnpublishVolume: { volumeId, nodeId: 'node-a' },
    ValidateVolumeCapabilities: { volumeId, volumeCapabilities: [mount] },
    ListVolumes: {},
    GetCapacity: { volumeCapabilities: [mount], parameters },
    ControllerGetCapabilities: {},
    CreateSnapshot: { sourceVolumeId: volumeId, name: `snapshot-${count}` },
    DeleteSnapshot: { snapshotId: 'snap.never' },
    ListSnapshots: {},
    GetSnapshot: { snapshotId: 'snap.never' },
    ControllerExpandVolume: { volumeId, capacityRange: range, volumeCapability },
    ControllerGetVolume: { volumeId },
    ControllerModifyVolume: { volumeId, mutableParameters: { onDelete: 'delete' } },
    NodeStageVolume: { volumeId, stagingTargetPath: at('staging'), volumeCapability },
    NodeUnstageVolume: { volumeId, stagingTargetPath: at('staging') },
    NodePublishVolume: {
      volumeId,
      stagingTargetPath: at('staging'),
      targetPath: at(`target-${count}`),
      volumeCapability,
    },
    NodeUnpublishVolume: { volumeId, targetPath: at('target-0') },
    NodeGetVolumeStats: { volumeId, volumePath: at('target-0') },
    NodeExpandVolume: { volumeId, volumePath: at('target-0'), volumeCapability },
    NodeGetCapabilities: {},
    NodeGetInfo: {},
  };
}

function sound(method: string): object {
  count += 1;
  const request = soundRequests()[method];
  if (request === undefined) throw new Error(`write down a sound ${method} request, to make hostile ones of`);
  return request;
}

function expectDecent({ code, details }: Answer, sent: string): void {
  expect(decentCodes, `${sent}: ${details.slice(0, 300)}`).toContain(code);
  expect(details.length).toBeLessThanOrEqual(2049);
  if (code !== 0) expect(details).not.toBe('');
}

/** What goes where: everything into a field of its own, a share into a map, of which each known key gets another one. */
function placesOf({
  method,
  requestType,
}: Rpc): { readonly path: FieldPath; readonly texts: readonly string[] }[] {
  const keysOf = (map: string): readonly string[] => {
    if (map === 'mutableParameters') return mutableKeys;
    if (map === 'volumeContext') return ['loam.dev/pool-uuid', 'csi.storage.k8s.io/ephemeral', 'size'];
    const isClass = map === 'parameters' && (method === 'CreateVolume' || method === 'GetCapacity');
    return isClass ? [...knownParameters, ...Object.values(metadataKeys)] : [];
  };
  const paths = textFields(requestType).flatMap((path) => {
    const map = path.slice(0, -1);
    return path.at(-1) === '{v}'
      ? [path, ...keysOf(map.join('.')).map((key) => [...map, `=${key}`])]
      : [path];
  });
  return paths.map((path, index) => {
    const isInMap = /^[{=]/.test(path.at(-1) ?? '');
    const texts = hostileTexts.filter((_text, at) => !isInMap || (at + index) % 4 === 0);
    const isPath = path.at(-1)?.endsWith('Path') === true;
    const below = texts.map((text) => node.lab.kubeletPath(text.slice(0, 5000)));
    return { path, texts: isPath ? [...texts, ...below] : texts };
  });
}

describe('a hostile text', () => {
  it.each(rpcs)(
    'in any field of $method gets a decent answer and does no harm',
    async (rpc) => {
      for (const { path, texts } of placesOf(rpc)) {
        for (const text of texts) {
          const answer = await node.call(rpc, withText(sound(rpc.method), path, text));
          expectDecent(answer, `${fieldName(path)} = ${JSON.stringify(text.slice(0, 80))}`);
        }
        expect(await node.findHarm(), fieldName(path)).toEqual([]);
      }
      // whoever serves is alive
      expect((await node.call(rpc, sound(rpc.method))).code).not.toBe(14);
    },
    60_000,
  );

  it('in several fields at once, chosen at random, does none either', async () => {
    const withFields = rpcs.filter(({ requestType }) => textFields(requestType).length > 0);
    const hostileRequest = fc.constantFrom(...withFields).chain((rpc) =>
      fc.record({
        rpc: fc.constant(rpc),
        changes: fc.array(fc.tuple(fc.constantFrom(...placesOf(rpc).map(({ path }) => path)), hostileText), {
          minLength: 1,
          maxLength: 4,
        }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(hostileRequest, async ({ rpc, changes }) => {
        const request = changes.reduce((made, [path, text]) => withText(made, path, text), sound(rpc.method));
        expectDecent(await node.call(rpc, request), JSON.stringify(changes).slice(0, 300));
      }),
      { numRuns: 300 },
    );
    expect(await node.findHarm()).toEqual([]);
  }, 60_000);

  it('makes no line of the log that has no end', () => {
    for (const line of node.logLines) expect(JSON.stringify(line).length).toBeLessThan(20_000);
  });
});
