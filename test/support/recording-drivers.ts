import type {
  CallContext,
  ControllerDriver,
  DriverSnapshot,
  DriverVolume,
} from '../../src/model/csi-driver.ts';
import type { Log } from '../../src/model/log.ts';
import type { Labels, Metrics } from '../../src/model/metrics.ts';
import type { NodeDriver } from '../../src/model/node-driver.ts';
import { nodeSegments } from '../../src/model/topology.ts';

export interface Recorded {
  readonly verb: string;
  readonly request: unknown;
  readonly call: CallContext;
}

export const aVolume: DriverVolume = {
  volumeId: 'pvc-1',
  capacityBytes: (1n << 63n) - 1n,
  volumeContext: { 'loam.dev/pool-uuid': 'uuid-1' },
  accessibleTopology: [nodeSegments('node-a')],
};

export const aSnapshot: DriverSnapshot = {
  snapshotId: 'snap-1',
  sourceVolumeId: 'pvc-1',
  sizeBytes: 1n << 30n,
  createdAtMs: 1_700_000_000_123,
  isReady: true,
};

/** A ControllerDriver that keeps what it was asked and answers something plausible, or what a test puts in its place. */
export function recordingController(overrides: Partial<ControllerDriver> = {}) {
  const calls: Recorded[] = [];
  const keep = (verb: string, request: unknown, call: CallContext): void =>
    void calls.push({ verb, request, call });
  const condition = { abnormal: false, message: 'fine' };
  const driver: ControllerDriver = {
    getPluginInfo: async () => ({ name: 'loam.dev', vendorVersion: '0' }),
    getControllerCapabilities: async () => new Set(['CREATE_DELETE_VOLUME', 'LIST_VOLUMES', 'GET_CAPACITY']),
    createVolume: async (request, call) => {
      keep('createVolume', request, call);
      return aVolume;
    },
    deleteVolume: async (request, call) => keep('deleteVolume', request, call),
    getCapacity: async (request, call) => {
      keep('getCapacity', request, call);
      return { availableBytes: 10n ** 12n, maximumVolumeBytes: 10n ** 11n, minimumVolumeBytes: 1n };
    },
    expandVolume: async (request, call) => {
      keep('expandVolume', request, call);
      return { capacityBytes: request.capacityRange.requiredBytes, nodeExpansionRequired: true };
    },
    modifyVolume: async (request, call) => keep('modifyVolume', request, call),
    createSnapshot: async (request, call) => {
      keep('createSnapshot', request, call);
      return aSnapshot;
    },
    deleteSnapshot: async (snapshotId, call) => keep('deleteSnapshot', snapshotId, call),
    listSnapshots: async (request, call) => {
      keep('listSnapshots', request, call);
      return { entries: [aSnapshot], nextToken: 'after-snap-1' };
    },
    getSnapshot: async (snapshotId, call) => {
      keep('getSnapshot', snapshotId, call);
      return aSnapshot;
    },
    validateVolumeCapabilities: async (request, call) => {
      keep('validateVolumeCapabilities', request, call);
      return { confirmed: true, message: '' };
    },
    listVolumes: async (request, call) => {
      keep('listVolumes', request, call);
      return { entries: [{ volume: aVolume, condition }], nextToken: 'after-pvc-1' };
    },
    getVolume: async (volumeId, call) => {
      keep('getVolume', volumeId, call);
      return { volume: aVolume, condition: { abnormal: true, message: 'image is short' } };
    },
    isReady: () => true,
    ...overrides,
  };
  return { driver, calls };
}

/** The same for the Node half. */
export function recordingNode(overrides: Partial<NodeDriver> = {}) {
  const calls: Recorded[] = [];
  const verb = (name: string) => async (request: unknown, call: CallContext) =>
    void calls.push({ verb: name, request, call });
  const driver: NodeDriver = {
    nodeInfo: () => ({ nodeId: 'node-a', maxVolumesPerNode: 7, accessibleTopology: nodeSegments('node-a') }),
    stage: verb('stage'),
    unstage: verb('unstage'),
    publish: verb('publish'),
    unpublish: verb('unpublish'),
    expand: async (request, call) => {
      calls.push({ verb: 'expand', request, call });
      return request.requiredBytes;
    },
    stats: async (request, call) => {
      calls.push({ verb: 'stats', request, call });
      return {
        usage: [{ unit: 'BYTES', available: 1n << 62n, total: (1n << 63n) - 1n, used: 5n }],
        condition: { abnormal: false, message: 'fine' },
      };
    },
    ...overrides,
  };
  return { driver, calls };
}

/** A log that keeps its lines. */
export function recordingLog() {
  const lines: { readonly level: string; readonly facts: object; readonly message: string }[] = [];
  const at = (level: string) => (facts: object, message: string) =>
    void lines.push({ level, facts, message });
  const log: Log = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  };
  return { log, lines };
}

/** Metrics that keep their durations and gauges. */
export function recordingMetrics() {
  const observed: { readonly name: string; readonly labels: Labels; readonly value: number }[] = [];
  const keep = (name: string, labels: Labels, value: number): void =>
    void observed.push({ name, labels, value });
  const metrics: Metrics = { count: () => {}, gauge: keep, observeSeconds: keep };
  return { metrics, observed };
}
