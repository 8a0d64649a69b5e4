import type { ControllerCapability, CsiDriver } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { poolUuidKey } from '../model/volume.ts';
import { ask, channelTo } from './channel.ts';
import { readCapacity, readVolume, writeCapability, writeRequirement, writeTopology } from './codec.ts';
import type { ControllerGetCapabilitiesResponse } from './generated/csi/v1/ControllerGetCapabilitiesResponse.ts';
import type { CreateVolumeResponse } from './generated/csi/v1/CreateVolumeResponse.ts';
import type { GetCapacityResponse } from './generated/csi/v1/GetCapacityResponse.ts';
import type { GetPluginInfoResponse } from './generated/csi/v1/GetPluginInfoResponse.ts';
import { csi, poolUuidMetadata } from './wire.ts';

/**
 * The `CsiDriver` port over a Unix socket: any CSI driver, ours or another's. Connects on first use and again whenever the
 * driver comes back; never waits for it beyond that, a call meanwhile is answered UNAVAILABLE.
 */
export function connectCsiDriver(socketPath: string): CsiDriver & { close(): void } {
  const identity = new csi.Identity(...channelTo(socketPath));
  const controller = new csi.Controller(...channelTo(socketPath));
  return {
    getPluginInfo: async (call) => {
      const info = await ask<GetPluginInfoResponse>(call, (metadata, options, done) =>
        identity.getPluginInfo({}, metadata, options, done),
      );
      return { name: info.name ?? '', vendorVersion: info.vendorVersion ?? '' };
    },

    getControllerCapabilities: async (call) => {
      const answer = await ask<ControllerGetCapabilitiesResponse>(call, (metadata, options, done) =>
        controller.controllerGetCapabilities({}, metadata, options, done),
      );
      // names that this program never asks for do no harm in the set
      return new Set(
        answer.capabilities.flatMap(({ rpc }) =>
          rpc?.type === undefined ? [] : [rpc.type as ControllerCapability],
        ),
      );
    },

    createVolume: async (request, call) => {
      if (request.contentSource !== undefined) {
        throw new StorageError(
          'unimplemented',
          `volume ${request.name} asks for a source's data; that is not sent yet`,
        );
      }
      const wire = {
        name: request.name,
        capacityRange: {
          requiredBytes: request.capacityRange.requiredBytes.toString(),
          limitBytes: request.capacityRange.limitBytes.toString(),
        },
        volumeCapabilities: request.capabilities.map(writeCapability),
        parameters: { ...request.parameters },
        ...(request.accessibility === undefined
          ? {}
          : { accessibilityRequirements: writeRequirement(request.accessibility) }),
      };
      const answer = await ask<CreateVolumeResponse>(call, (metadata, options, done) =>
        controller.createVolume(wire, metadata, options, done),
      );
      return readVolume(answer.volume);
    },

    deleteVolume: async ({ volumeId, volumeContext }, call) => {
      const poolUuid = volumeContext?.[poolUuidKey];
      const headers = poolUuid === undefined ? undefined : { [poolUuidMetadata]: poolUuid };
      await ask(
        call,
        (metadata, options, done) => controller.deleteVolume({ volumeId }, metadata, options, done),
        headers,
      );
    },

    expandVolume: notSentYet('ControllerExpandVolume'),
    modifyVolume: notSentYet('ControllerModifyVolume'),
    createSnapshot: notSentYet('CreateSnapshot'),
    deleteSnapshot: notSentYet('DeleteSnapshot'),
    listSnapshots: notSentYet('ListSnapshots'),

    getCapacity: async ({ capabilities, parameters, accessibleTopology }, call) => {
      const wire = {
        volumeCapabilities: capabilities.map(writeCapability),
        parameters: { ...parameters },
        ...(accessibleTopology === undefined
          ? {}
          : { accessibleTopology: writeTopology(accessibleTopology) }),
      };
      return readCapacity(
        await ask<GetCapacityResponse>(call, (metadata, options, done) =>
          controller.getCapacity(wire, metadata, options, done),
        ),
      );
    },

    close: () => {
      identity.close();
      controller.close();
    },
  };
}

function notSentYet(method: string): () => Promise<never> {
  return async () => {
    throw new StorageError('unimplemented', `${method} is not sent yet`);
  };
}
