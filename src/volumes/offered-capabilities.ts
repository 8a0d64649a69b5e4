import type { Backend } from '../backends/backend.ts';
import type { ControllerCapability } from '../model/csi-driver.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** What needs nothing of a backend; `MODIFY_VOLUME` since a record can say otherwise how its volume is to be deleted. */
const ofEvery: readonly ControllerCapability[] = [
  'CREATE_DELETE_VOLUME',
  'LIST_VOLUMES',
  'GET_CAPACITY',
  'VOLUME_CONDITION',
  'GET_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
  'MODIFY_VOLUME',
];

/** What takes a verb that a backend may lack. */
const ofVerb: readonly (readonly [verb: keyof Backend, capabilities: readonly ControllerCapability[]])[] = [
  ['grow', ['EXPAND_VOLUME']],
  ['createFrom', ['CLONE_VOLUME']],
  ['capture', ['CREATE_DELETE_SNAPSHOT', 'LIST_SNAPSHOTS', 'GET_SNAPSHOT']],
];

/** What the controller's half can do here, by what the backends can that probing found usable in an open pool. */
export function offeredCapabilities({
  pools,
  backends,
}: Pick<VolumeEnvironment, 'pools' | 'backends'>): ReadonlySet<ControllerCapability> {
  const offers = pools.open().flatMap((pool) => pool.offers);
  const usable = backends.filter(({ name }) =>
    offers.some((offer) => offer.name === name && offer.probe.usable),
  );
  const has = (verb: keyof Backend): boolean => usable.some((backend) => backend[verb] !== undefined);
  return new Set([...ofEvery, ...ofVerb.flatMap(([verb, capabilities]) => (has(verb) ? capabilities : []))]);
}
