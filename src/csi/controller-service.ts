import type { ControllerDriver, CreateVolumeRequest } from '../model/csi-driver.ts';
import { poolUuidKey } from '../model/volume.ts';
import {
  readCapabilities,
  readCapacityRange,
  readRequirement,
  readTopology,
  requiredCapabilities,
  writeCapability,
  writeCapacity,
  writeListed,
  writeVolume,
} from './codec.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { CreateVolumeRequest as WireCreateVolume } from './generated/csi/v1/CreateVolumeRequest.ts';
import type { Served } from './unary.ts';
import { boundedMap, invalidField, refuseMutableParameters, volumeId, volumeName } from './validate.ts';
import { poolUuidMetadata } from './wire.ts';

/**
 * CSI Controller: each handler validates, translates, asks the driver and translates back. What the driver cannot do
 * (publishing to nodes, snapshots, expansion so far) has no handler and answers UNIMPLEMENTED.
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
      const maxEntries = request.maxEntries ?? 0;
      if (maxEntries < 0) throw invalidField('max_entries', `is negative: ${maxEntries}`);
      // a token of ours is short; how a foreign one is refused is the driver's to say (ABORTED)
      const page = await driver.listVolumes({ maxEntries, startingToken: request.startingToken ?? '' }, call);
      return { entries: page.entries.map(writeListed), nextToken: page.nextToken };
    },

    ValidateVolumeCapabilities: async (request, call) => {
      const id = volumeId(request.volumeId);
      const capabilities = requiredCapabilities(request.volumeCapabilities);
      refuseMutableParameters(request.mutableParameters);
      const volumeContext = boundedMap('volume_context', request.volumeContext);
      const parameters = boundedMap('parameters', request.parameters);
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
  };
}

function readCreateVolume(request: WireCreateVolume): CreateVolumeRequest {
  const name = volumeName(request.name);
  const capabilities = requiredCapabilities(request.volumeCapabilities);
  refuseMutableParameters(request.mutableParameters);
  const requirement = request.accessibilityRequirements;
  return {
    name,
    capabilities,
    capacityRange: readCapacityRange(request.capacityRange),
    parameters: boundedMap('parameters', request.parameters),
    ...(requirement === undefined ? {} : { accessibility: readRequirement(requirement) }),
    ...(request.volumeContentSource === undefined ? {} : { hasContentSource: true }),
  };
}
