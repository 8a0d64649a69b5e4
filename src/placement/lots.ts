/** FNV-1a, 32 bits: to draw lots with, and nothing else. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/** The lot that falls to one of many for one thing: the same for the same two, and another for every other two. */
export function lotOf(thing: number, one: number): number {
  let hash = Math.imul(thing ^ Math.imul(one, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return (hash ^ (hash >>> 13)) >>> 0;
}
