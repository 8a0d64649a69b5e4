import type { ControllerCapability, CsiDriver } from '../model/csi-driver.ts';
import { poolUuidKey } from '../model/volume.ts';
import { ask, channelTo } from './channel.ts';
import {
  readCapacity,
  readVolume,
  writeCapability,
  writeCapacityRange,
  writeRequirement,
  writeTopology,
} from './codec.ts';
import type { ControllerExpandVolumeResponse } from './generated/csi/v1/ControllerExpandVolumeResponse.ts';
import type { ControllerGetCapabilitiesResponse } from './generated/csi/v1/ControllerGetCapabilitiesResponse.ts';
import type { CreateSnapshotResponse } from './generated/csi/v1/CreateSnapshotResponse.ts';
import type { CreateVolumeResponse } from './generated/csi/v1/CreateVolumeResponse.ts';
import type { GetCapacityResponse } from './generated/csi/v1/GetCapacityResponse.ts';
import type { GetPluginInfoResponse } from './generated/csi/v1/GetPluginInfoResponse.ts';
import type { ListSnapshotsResponse } from './generated/csi/v1/ListSnapshotsResponse.ts';
import { readSnapshot, writeContentSource } from './source-codec.ts';
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
      const wire = {
        name: request.name,
        capacityRange: writeCapacityRange(request.capacityRange),
        volumeCapabilities: request.capabilities.map(writeCapability),
        parameters: { ...request.parameters },
        ...(request.accessibility === undefined
          ? {}
          : { accessibilityRequirements: writeRequirement(request.accessibility) }),
        ...(request.contentSource === undefined
          ? {}
          : { volumeContentSource: writeContentSource(request.contentSource) }),
        mutableParameters: { ...request.mutableParameters },
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

    expandVolume: async ({ volumeId, capacityRange, capability }, call) => {
      const wire = {
        volumeId,
        capacityRange: writeCapacityRange(capacityRange),
        ...(capability === undefined ? {} : { volumeCapability: writeCapability(capability) }),
      };
      const answer = await ask<ControllerExpandVolumeResponse>(call, (metadata, options, done) =>
        controller.controllerExpandVolume(wire, metadata, options, done),
      );
      const { capacityBytes = '0', nodeExpansionRequired = false } = answer;
      return { capacityBytes: BigInt(capacityBytes), nodeExpansionRequired };
    },

    modifyVolume: async ({ volumeId, mutableParameters }, call) => {
      const wire = { volumeId, mutableParameters: { ...mutableParameters } };
      await ask(call, (metadata, options, done) =>
        controller.controllerModifyVolume(wire, metadata, options, done),
      );
    },

    createSnapshot: async ({ name, sourceVolumeId, parameters }, call) => {
      const wire = { name, sourceVolumeId, parameters: { ...parameters } };
      const answer = await ask<CreateSnapshotResponse>(call, (metadata, options, done) =>
        controller.createSnapshot(wire, metadata, options, done),
      );
      return readSnapshot(answer.snapshot);
    },

    deleteSnapshot: async (snapshotId, call) => {
      await ask(call, (metadata, options, done) =>
        controller.deleteSnapshot({ snapshotId }, metadata, options, done),
      );
    },

    listSnapshots: async (request, call) => {
      const answer = await ask<ListSnapshotsResponse>(call, (metadata, options, done) =>
        controller.listSnapshots(request, metadata, options, done),
      );
      const entries = answer.entries.map(({ snapshot }) => readSnapshot(snapshot));
      return { entries, nextToken: answer.nextToken ?? '' };
    },

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
