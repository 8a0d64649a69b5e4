import type { CsiStorageCapacity } from '../../../src/kube/objects.ts';
import type { Capacity } from '../../../src/model/csi-driver.ts';
import { capacityNameOf } from '../../../src/provisioner/capacity/capacity-object.ts';
import { World } from './world.ts';

export const namespace = 'loam-system';
export const enabled = { capacityNamespace: namespace };
export const GiB = 1n << 30n;
export const MiB = 1n << 20n;

/** A world whose driver tells of 10 GiB, and whose node has its Node. */
export class CapacityWorld extends World {
  room: Capacity = { availableBytes: 10n * GiB };

  constructor() {
    super();
    this.driver.capabilities = new Set(['CREATE_DELETE_VOLUME', 'GET_CAPACITY', 'SINGLE_NODE_MULTI_WRITER']);
    this.driver.capacityOf = () => this.room;
    this.api.put('Node', { metadata: { name: 'node-a', uid: 'node-1' } });
  }

  /** class → the largest size published, with the reason */
  published(): Record<string, string> {
    const objects = this.api.all('CSIStorageCapacity');
    return Object.fromEntries(
      objects.map(({ storageClassName, maximumVolumeSize = '', metadata }) => {
        const reason = metadata.annotations?.['loam.dev/reason'];
        return [
          storageClassName,
          reason === undefined ? maximumVolumeSize : `${maximumVolumeSize}: ${reason}`,
        ];
      }),
    );
  }

  /** The verbs of the writes to capacity objects, in their order. */
  writes(): string[] {
    return this.api.calls
      .filter(
        ({ kind, verb }) => kind === 'CSIStorageCapacity' && ['create', 'patch', 'remove'].includes(verb),
      )
      .map(({ verb }) => verb);
  }

  /** What is published for class `fast`. */
  find(): CsiStorageCapacity | undefined {
    const scope = { driverName: 'loam.dev', nodeName: 'node-a', topologyValue: 'node-a', namespace };
    return this.api.peek('CSIStorageCapacity', `${namespace}/${capacityNameOf(scope, 'fast')}`);
  }

  /** By our own doing, which the driver tells of. */
  change(availableBytes: bigint, reason?: string): void {
    this.room = { availableBytes, ...(reason === undefined ? {} : { reason }) };
    this.driver.spaceChanged.tell();
  }
}
