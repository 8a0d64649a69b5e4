/** The one topology key: a volume belongs to one node. */
export const nodeTopologyKey = 'topology.loam.dev/node';

/** Label values are at most 63 characters; CSI topology values too. */
export type Segments = Readonly<Record<string, string>>;

/** CSI TopologyRequirement. */
export interface TopologyRequirement {
  readonly requisite: readonly Segments[];
  readonly preferred: readonly Segments[];
}

export function nodeSegments(topologyValue: string): Segments {
  return { [nodeTopologyKey]: topologyValue };
}

/** Whether a requirement can be met on the node with these segments: no requisite, or one of them fits. */
export function admits(requirement: TopologyRequirement | undefined, own: Segments): boolean {
  if (requirement === undefined || requirement.requisite.length === 0) return true;
  return requirement.requisite.some((segments) => contains(own, segments));
}

/** Whether every segment asked for is one of ours. An empty term admits everything. */
export function contains(own: Segments, asked: Segments): boolean {
  return Object.entries(asked).every(([key, value]) => own[key] === value);
}
