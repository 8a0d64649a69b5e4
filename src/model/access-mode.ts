/** CSI's access modes, by the wire's names. A number or UNKNOWN on the wire is none of them. */
export const accessModes = [
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_READER_ONLY',
  'MULTI_NODE_READER_ONLY',
  'MULTI_NODE_SINGLE_WRITER',
  'MULTI_NODE_MULTI_WRITER',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
] as const;
export type AccessMode = (typeof accessModes)[number];

/** Kubernetes' access modes, as a claim spells them. */
export type KubeAccessMode = 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteMany' | 'ReadWriteOncePod';

/**
 * What a claim's mode becomes in a CSI request (csi-lib-utils, `accessmodes`).
 *
 * @param singleNodeMultiWriter whether the driver advertises SINGLE_NODE_MULTI_WRITER
 */
export function csiAccessMode(mode: KubeAccessMode, singleNodeMultiWriter: boolean): AccessMode {
  switch (mode) {
    case 'ReadWriteOnce':
      return singleNodeMultiWriter ? 'SINGLE_NODE_MULTI_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadWriteOncePod':
      return singleNodeMultiWriter ? 'SINGLE_NODE_SINGLE_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadOnlyMany':
      return 'MULTI_NODE_READER_ONLY';
    case 'ReadWriteMany':
      return 'MULTI_NODE_MULTI_WRITER';
  }
}

/** Modes that mean several nodes: a volume of one node serves them only where the class says `sharing: node`. */
export function isMultiNode(mode: AccessMode): boolean {
  return mode.startsWith('MULTI_NODE_');
}
