import { StorageError } from '../model/errors.ts';
import { isInlinePublish, type NodeDriver } from '../model/node-driver.ts';
import { readCapability, readCapacityRange, writeTopology, writeUsage } from './codec.ts';
import type { NodeHandlers } from './generated/csi/v1/Node.ts';
import type { _csi_v1_NodeServiceCapability_RPC_Type as NodeCapability } from './generated/csi/v1/NodeServiceCapability.ts';
import type { Served } from './unary.ts';
import { absolutePath, anyPath, boundedMap, volumeId } from './validate.ts';

/** What a driver advertises follows from the verbs that it has; `stats` tells the condition, `publish` the writers apart. */
const capabilitiesOfVerb: Partial<Record<keyof NodeDriver, readonly NodeCapability[]>> = {
  stage: ['STAGE_UNSTAGE_VOLUME'],
  publish: ['SINGLE_NODE_MULTI_WRITER'],
  expand: ['EXPAND_VOLUME'],
  stats: ['GET_VOLUME_STATS', 'VOLUME_CONDITION'],
};

/**
 * CSI Node, as kubelet calls it: validate, translate, ask the driver. Which paths may be mounted over is
 * the driver's to decide; here they only have to be paths.
 */
export function nodeHandlers(driver: NodeDriver): Served<NodeHandlers> {
  // Asked several times in each of kubelet's operations, so decided once.
  const capabilities = Object.entries(capabilitiesOfVerb)
    .filter(([verb]) => verb in driver)
    .flatMap(([, types]) => types.map((type) => ({ rpc: { type } })));

  return {
    NodeGetCapabilities: async () => ({ capabilities }),

    NodeGetInfo: async () => {
      const { nodeId, maxVolumesPerNode, accessibleTopology } = driver.nodeInfo();
      return { nodeId, maxVolumesPerNode, accessibleTopology: writeTopology(accessibleTopology) };
    },

    NodeStageVolume: async (request, call) => {
      const id = volumeId(request.volumeId);
      const stagingTargetPath = absolutePath('staging_target_path', request.stagingTargetPath);
      const capability = readCapability('volume_capability', request.volumeCapability);
      const volumeContext = boundedMap('volume_context', request.volumeContext);
      await driver.stage({ volumeId: id, stagingTargetPath, capability, volumeContext }, call);
      return {};
    },

    NodeUnstageVolume: async (request, call) => {
      const id = volumeId(request.volumeId);
      const stagingTargetPath = absolutePath('staging_target_path', request.stagingTargetPath);
      await driver.unstage({ volumeId: id, stagingTargetPath }, call);
      return {};
    },

    NodePublishVolume: async (request, call) => {
      const id = volumeId(request.volumeId);
      const targetPath = absolutePath('target_path', request.targetPath);
      const capability = readCapability('volume_capability', request.volumeCapability);
      const volumeContext = boundedMap('volume_context', request.volumeContext);
      const stagingTargetPath = isInlinePublish({ volumeContext })
        ? ''
        : stagedAt(id, request.stagingTargetPath);
      const readonly = request.readonly ?? false;
      await driver.publish(
        { volumeId: id, stagingTargetPath, targetPath, capability, volumeContext, readonly },
        call,
      );
      return {};
    },

    NodeUnpublishVolume: async (request, call) => {
      const id = volumeId(request.volumeId);
      const targetPath = absolutePath('target_path', request.targetPath);
      await driver.unpublish({ volumeId: id, targetPath }, call);
      return {};
    },

    NodeExpandVolume: async (request, call) => {
      const id = volumeId(request.volumeId);
      const volumePath = anyPath('volume_path', request.volumePath);
      const { requiredBytes, limitBytes } = readCapacityRange(request.capacityRange);
      const sizeBytes = await driver.expand({ volumeId: id, volumePath, requiredBytes }, call);
      if (limitBytes > 0n && sizeBytes > limitBytes) throw tooLarge(id, sizeBytes, limitBytes);
      return { capacityBytes: sizeBytes.toString() };
    },

    NodeGetVolumeStats: async (request, call) => {
      const id = volumeId(request.volumeId);
      const volumePath = anyPath('volume_path', request.volumePath);
      const { usage, condition } = await driver.stats({ volumeId: id, volumePath }, call);
      return { usage: usage.map(writeUsage), volumeCondition: { ...condition } };
    },
  };
}

/** CSI's error table of NodePublishVolume: without the path of a stage it is a precondition that fails, not the request. */
function stagedAt(id: string, path: string | undefined): string {
  if (path === undefined || path === '') {
    throw new StorageError(
      'not-staged',
      `staging_target_path is missing: volume ${id} has to be staged before it is published`,
    );
  }
  return absolutePath('staging_target_path', path);
}

function tooLarge(id: string, sizeBytes: bigint, limitBytes: bigint): StorageError {
  return new StorageError(
    'size-out-of-range',
    `volume ${id} has ${sizeBytes} bytes, more than capacity_range.limit_bytes (${limitBytes}); volumes do not shrink`,
  );
}
