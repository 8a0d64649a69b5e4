import type { ControllerCapability } from '../../model/csi-driver.ts';
import type { Watches } from '../watches.ts';
import { CapacityPublisher, type CapacityPublisherOptions } from './capacity-publisher.ts';

export interface CapacityStartOptions extends Omit<CapacityPublisherOptions, 'namespace' | 'classes'> {
  readonly watches: Watches;
  /** where capacity objects are published; unset: nowhere */
  readonly capacityNamespace?: string;
  readonly capabilities: ReadonlySet<ControllerCapability>;
}

/** @returns undefined where nothing is to be published, or the driver does not tell */
export function startCapacity(
  options: CapacityStartOptions,
  signal: AbortSignal,
): CapacityPublisher | undefined {
  const { watches, own, capacityNamespace: namespace, capabilities } = options;
  if (namespace === undefined || !capabilities.has('GET_CAPACITY')) return undefined;
  const capacity = new CapacityPublisher({ ...options, namespace, classes: () => watches.classes() });
  watches.onClass(({ previous, current }) => {
    const drivers = [previous?.provisioner, current?.provisioner];
    if (drivers.includes(own.driverName)) capacity.refresh();
  });
  capacity.start(signal);
  return capacity;
}
