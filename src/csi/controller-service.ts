import type { ControllerDriver, CreateVolumeRequest, ListSnapshotsRequest } from '../model/csi-driver.ts';
import { poolUuidKey } from '../model/volume.ts';
import {
  readCapabilities,
  readCapability,
  readCapacityRange,
  readRequirement,
  readTopology,
  requiredCapabilities,
  requiredCapacityRange,
  writeCapability,
  writeCapacity,
  writeListed,
  writeVolume,
} from './codec.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { CreateVolumeRequest as WireCreateVolume } from './generated/csi/v1/CreateVolumeRequest.ts';
import type { ListSnapshotsRequest as WireListSnapshots } from './generated/csi/v1/ListSnapshotsRequest.ts';
import { readContentSource, writeSnapshot } from './source-codec.ts';
import type { Served } from './unary.ts';
import { boundedMap, givenName, optionalText, pageSize, snapshotId, volumeId } from './validate.ts';
import { poolUuidMetadata } from './wire.ts';

/**
 * CSI Controller: each handler validates, translates, asks the driver and translates back. What the driver cannot do
 * (publishing to nodes) has no handler and answers UNIMPLEMENTED.
 */
export function controllerHandlers(driver: ControllerDriver): Served<ControllerHandlers> {
  return {
    ControllerGetCapabilities: async (_request, call) => {
      const capabilities = await driver.getControllerCapabilities(call);
      return { capabilities: [...capabilities].map((type) => ({ rpc: { type } })) };
    },

    CreateVolume: async (request, call) => {
      const volume = await driver.createVolume(readCreateVolume(request), call);
      return { volume: writeVolume(volume) };
    },

    DeleteVolume: async (request, call) => {
      const poolUuid = call.header(poolUuidMetadata);
      const volumeContext = poolUuid === undefined ? {} : { volumeContext: { [poolUuidKey]: poolUuid } };
      await driver.deleteVolume({ volumeId: volumeId(request.volumeId), ...volumeContext }, call);
      return {};
    },

    ControllerGetVolume: async (request, call) =>
      writeListed(await driver.getVolume(volumeId(request.volumeId), call)),

    ListVolumes: async (request, call) => {
      const maxEntries = pageSize(request.maxEntries);
      // a token of ours is short; how a foreign one is refused is the driver's to say (ABORTED)
      const page = await driver.listVolumes({ maxEntries, startingToken: request.startingToken ?? '' }, call);
      return { entries: page.entries.map(writeListed), nextToken: page.nextToken };
    },

    ValidateVolumeCapabilities: async (request, call) => {
      const id = volumeId(request.volumeId);
      const capabilities = requiredCapabilities(request.volumeCapabilities);
      const mutableParameters = boundedMap('mutable_parameters', request.mutableParameters);
      const volumeContext = boundedMap('volume_context', request.volumeContext);
      const parameters = boundedMap('parameters', request.parameters);
      // what a volume can be changed to is found out by changing it
      if (Object.keys(mutableParameters).length > 0)
        return { message: 'mutable_parameters cannot be confirmed; ask without them' };
      const { confirmed, message } = await driver.validateVolumeCapabilities(
        { volumeId: id, capabilities, volumeContext, parameters },
        call,
      );
      if (!confirmed) return { message };
      const volumeCapabilities = capabilities.map(writeCapability);
      return {
        confirmed: { volumeCapabilities, volumeContext: { ...volumeContext }, parameters: { ...parameters } },
        message,
      };
    },

    GetCapacity: async (request, call) => {
      const capacity = await driver.getCapacity(
        {
          capabilities: readCapabilities(request.volumeCapabilities),
          parameters: boundedMap('parameters', request.parameters),
          ...(request.accessibleTopology === undefined
            ? {}
            : { accessibleTopology: readTopology(request.accessibleTopology) }),
        },
        call,
      );
      return writeCapacity(capacity);
    },

    ControllerExpandVolume: async (request, call) => {
      const { volumeCapability } = request;
      const id = volumeId(request.volumeId);
      const capacityRange = requiredCapacityRange(request.capacityRange);
      const capability =
        volumeCapability === undefined
          ? {}
          : { capability: readCapability('volume_capability', volumeCapability) };
      const grown = await driver.expandVolume({ volumeId: id, capacityRange, ...capability }, call);
      return {
        capacityBytes: grown.capacityBytes.toString(),
        nodeExpansionRequired: grown.nodeExpansionRequired,
      };
    },

    ControllerModifyVolume: async (request, call) => {
      const id = volumeId(request.volumeId);
      const mutableParameters = boundedMap('mutable_parameters', request.mutableParameters);
      await driver.modifyVolume({ volumeId: id, mutableParameters }, call);
      return {};
    },

    CreateSnapshot: async (request, call) => {
      const name = givenName(request.name);
      const sourceVolumeId = volumeId(request.sourceVolumeId, 'source_volume_id');
      const parameters = boundedMap('parameters', request.parameters);
      return {
        snapshot: writeSnapshot(await driver.createSnapshot({ name, sourceVolumeId, parameters }, call)),
      };
    },

    DeleteSnapshot: async (request, call) => {
      await driver.deleteSnapshot(snapshotId(request.snapshotId), call);
      return {};
    },

    GetSnapshot: async (request, call) => ({
      snapshot: writeSnapshot(await driver.getSnapshot(snapshotId(request.snapshotId), call)),
    }),

    ListSnapshots: async (request, call) => {
      const { entries, nextToken } = await driver.listSnapshots(readListSnapshots(request), call);
      return { entries: entries.map((snapshot) => ({ snapshot: writeSnapshot(snapshot) })), nextToken };
    },
  };
}

/** Ids are filters here: one that cannot be ours finds nothing, which is the answer. */
function readListSnapshots(request: WireListSnapshots): ListSnapshotsRequest {
  const id = optionalText('snapshot_id', request.snapshotId);
  const sourceId = optionalText('source_volume_id', request.sourceVolumeId);
  return {
    maxEntries: pageSize(request.maxEntries),
    startingToken: request.startingToken ?? '',
    ...(id === '' ? {} : { snapshotId: id }),
    ...(sourceId === '' ? {} : { sourceVolumeId: sourceId }),
  };
}

function readCreateVolume(request: WireCreateVolume): CreateVolumeRequest {
  const { accessibilityRequirements: requirement, volumeContentSource: source } = request;
  const mutableParameters = boundedMap('mutable_parameters', request.mutableParameters);
  return {
    name: givenName(request.name),
    capabilities: requiredCapabilities(request.volumeCapabilities),
    capacityRange: readCapacityRange(request.capacityRange),
    parameters: boundedMap('parameters', request.parameters),
    ...(requirement === undefined ? {} : { accessibility: readRequirement(requirement) }),
    ...(source === undefined ? {} : { contentSource: readContentSource('volume_content_source', source) }),
    ...(Object.keys(mutableParameters).length === 0 ? {} : { mutableParameters }),
  };
}
