/** Where what is being adopted lies between its old place and `volumes`. */
export const adoptingName = '.adopting';

/** Entries of a pool's root that are Loam's own business; so is whatever begins with a dot. */
const ownNames: ReadonlySet<string> = new Set([
  'volumes',
  'snapshots',
  'trash',
  'archive',
  'by-claim',
  'pool.json',
  'reserve',
  'lost+found',
]);

export function isOwnName(name: string): boolean {
  return name.startsWith('.') || ownNames.has(name);
}
