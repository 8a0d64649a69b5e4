import type { CallContext } from '../model/csi-driver.ts';
import type { NodeDriver, NodeInfo } from '../model/node-driver.ts';
import { ask, channelTo } from './channel.ts';
import { readUsage, writeCapability, writeCapacityRange } from './codec.ts';
import type { NodeExpandVolumeResponse } from './generated/csi/v1/NodeExpandVolumeResponse.ts';
import type { NodeGetInfoResponse } from './generated/csi/v1/NodeGetInfoResponse.ts';
import type { NodeGetVolumeStatsResponse } from './generated/csi/v1/NodeGetVolumeStatsResponse.ts';
import { csi } from './wire.ts';

/** The Node half of a driver behind a socket, as kubelet sees it. */
export interface RemoteNodeDriver extends Omit<NodeDriver, 'nodeInfo'> {
  nodeInfo(call: CallContext): Promise<NodeInfo>;
  close(): void;
}

/** Connects on first use, and again whenever the driver comes back. */
export function connectNodeDriver(socketPath: string): RemoteNodeDriver {
  const node = new csi.Node(...channelTo(socketPath));
  return {
    nodeInfo: async (call) => {
      const info = await ask<NodeGetInfoResponse>(call, (metadata, options, done) =>
        node.nodeGetInfo({}, metadata, options, done),
      );
      return {
        nodeId: info.nodeId ?? '',
        maxVolumesPerNode: Number(info.maxVolumesPerNode ?? 0),
        accessibleTopology: info.accessibleTopology?.segments ?? {},
      };
    },

    expand: async ({ requiredBytes, ...place }, call) => {
      const wire = { ...place, capacityRange: writeCapacityRange({ requiredBytes, limitBytes: 0n }) };
      const answer = await ask<NodeExpandVolumeResponse>(call, (metadata, options, done) =>
        node.nodeExpandVolume(wire, metadata, options, done),
      );
      return BigInt(answer.capacityBytes ?? 0);
    },

    stage: async ({ capability, volumeContext, ...paths }, call) => {
      const wire = {
        ...paths,
        volumeCapability: writeCapability(capability),
        volumeContext: { ...volumeContext },
      };
      await ask(call, (metadata, options, done) => node.nodeStageVolume(wire, metadata, options, done));
    },

    unstage: async (request, call) => {
      await ask(call, (metadata, options, done) => node.nodeUnstageVolume(request, metadata, options, done));
    },

    publish: async ({ capability, volumeContext, ...rest }, call) => {
      const wire = {
        ...rest,
        volumeCapability: writeCapability(capability),
        volumeContext: { ...volumeContext },
      };
      await ask(call, (metadata, options, done) => node.nodePublishVolume(wire, metadata, options, done));
    },

    unpublish: async (request, call) => {
      await ask(call, (metadata, options, done) =>
        node.nodeUnpublishVolume(request, metadata, options, done),
      );
    },

    stats: async (request, call) => {
      const answer = await ask<NodeGetVolumeStatsResponse>(call, (metadata, options, done) =>
        node.nodeGetVolumeStats(request, metadata, options, done),
      );
      const { abnormal = false, message = '' } = answer.volumeCondition ?? {};
      return { usage: readUsage(answer), condition: { abnormal, message } };
    },

    close: () => node.close(),
  };
}
