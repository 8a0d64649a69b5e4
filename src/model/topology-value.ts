import { createHash } from 'node:crypto';

/**
 * A node's name as a label value: itself where it fits 63 characters, else its beginning and a hash.
 * Topology values and the index label `loam.dev/node` both use it.
 */
export function labelValueOf(nodeName: string): string {
  if (nodeName.length <= 63) return nodeName;
  const hash = createHash('sha256').update(nodeName).digest('hex').slice(0, 10);
  return `${nodeName.slice(0, 52).replace(/[^a-zA-Z0-9]+$/, '')}-${hash}`;
}
