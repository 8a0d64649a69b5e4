import type { OwnSide } from '../../../src/claims/volume-facts.ts';
import { nodeSegments } from '../../../src/model/topology.ts';

/** Loam's own driver on node-a, as the unit tests of this room see themselves. */
export const own: OwnSide = {
  driverName: 'loam.dev',
  nodeName: 'node-a',
  topologyValue: 'node-a',
  segments: nodeSegments('node-a'),
  ownDriver: true,
};
