import { formatBytes } from '../model/quantity.ts';
import type { Candidate, Obstacle, Verdict } from './decide-node.ts';

/** What an Event may say; the API allows 1024. */
const longestText = 1_000;
const mostNodes = 5;
const longestWhy = 200;

/** A sentence for people, and what it is about: the same `kind` with other numbers is no news. */
export interface Description {
  readonly text: string;
  readonly kind: string;
}

/** `no node has 5 GiB for class x: node-a has 2 GiB, node-b has 0 (pool fast: …), node-c is cordoned, and 3 more`. */
export function describeNowhere(
  verdicts: readonly Verdict[],
  requestedBytes: bigint,
  className: string,
): Description {
  const size = formatBytes(requestedBytes);
  const told = verdicts.filter(({ obstacle }) => obstacle !== 'not-allowed');
  const leftOut = verdicts.length - told.length;
  if (told.length === 0) {
    const text =
      leftOut === 0
        ? `no node serves class ${className}: none has the driver, or publishes what it has left`
        : `no node serves class ${className}: its allowedTopologies leave out all ${leftOut} nodes that have the driver`;
    return { text, kind: JSON.stringify(['unserved', leftOut > 0]) };
  }
  const ordered = told.toSorted(byRoom);
  let text = `no node has ${size} for class ${className}: `;
  let shown = 0;
  for (const verdict of ordered.slice(0, mostNodes)) {
    const words = `${shown === 0 ? '' : ', '}${wordsFor(verdict, requestedBytes)}`;
    // room for "and N more" has to be left
    if (shown > 0 && text.length + words.length > longestText - 40) break;
    text += words;
    shown += 1;
  }
  const more = ordered.length - shown;
  if (more > 0) text += `, and ${more} more`;
  return { text: text.slice(0, longestText), kind: kindOf(ordered, requestedBytes) };
}

const advice: Readonly<Record<Obstacle, string>> = {
  'not-allowed': 'use a class that admits it',
  'no-driver': 'run the driver there',
  'not-ready': 'bring it back',
  cordoned: 'uncordon it',
  tainted: 'take the taint off',
  unpublished: "look into its driver's log",
  'no-room': 'delete volumes there, or give it another pool',
  'too-small': 'delete volumes there, or give it another pool',
  promised: 'delete volumes there, or wait',
  refused: "delete volumes there, or look into its driver's log",
};

/** `snapshot shop/monday is on node-a, so that its copy of 5 GiB can only be made there: node-a is cordoned; uncordon it`. */
export function describeJoin(
  verdict: Verdict | undefined,
  requestedBytes: bigint,
  source: { readonly what: string; readonly node: string },
): Description {
  const { what, node } = source;
  const where = `${what} is on ${node}, so that its copy of ${formatBytes(requestedBytes)} can only be made there`;
  if (verdict === undefined) {
    const text = `${where}: that node is not there, or never had the driver; bring it back, or copy from another source`;
    return { text, kind: JSON.stringify(['join', node, 'gone']) };
  }
  const text = `${where}: ${wordsFor(verdict, requestedBytes)}; ${advice[verdict.obstacle]}`;
  return { text: text.slice(0, longestText), kind: JSON.stringify(['join', node, family(verdict.obstacle)]) };
}

/** Those with most room first; those of which it is not known last. */
function byRoom(a: Verdict, b: Verdict): number {
  const [left, right] = [roomOf(a), roomOf(b)];
  if (left !== right) return left > right ? -1 : 1;
  return a.candidate.node.name < b.candidate.node.name ? -1 : 1;
}

function roomOf({ obstacle, candidate }: Verdict): bigint {
  const { room } = candidate;
  if (room === undefined || !tellsRoom.has(obstacle)) return -1n;
  return room.largestBytes;
}

const tellsRoom: ReadonlySet<Obstacle> = new Set(['no-room', 'too-small', 'promised', 'refused']);

function wordsFor({ obstacle, candidate }: Verdict, requestedBytes: bigint): string {
  const { node, room, promisedBytes } = candidate;
  const { name } = node;
  switch (obstacle) {
    case 'not-allowed':
      return `${name} is left out by allowedTopologies`;
    case 'no-driver':
      return `${name} does not run the driver`;
    case 'not-ready':
      return `${name} is not ready`;
    case 'cordoned':
      return `${name} is cordoned`;
    case 'tainted':
      return `${name} is tainted ${node.taint?.key ?? ''}`.trimEnd();
    case 'unpublished':
      return `${name} publishes nothing for this class`;
    case 'no-room':
      return `${name} has 0${room?.why === undefined ? '' : ` (${cut(room.why)})`}`;
    case 'too-small':
      return `${name} has ${lessThan(room?.largestBytes ?? 0n, requestedBytes)}`;
    case 'promised':
      return `${name} has ${formatBytes(room?.freeBytes ?? 0n)}, of which ${formatBytes(promisedBytes)} are for other claims`;
    case 'refused':
      return `${name} has ${formatBytes(room?.largestBytes ?? 0n)} by its own count but could not make the volume`;
  }
}

/** Rounded as people like it, unless that would hide what is missing. */
function lessThan(bytes: bigint, requestedBytes: bigint): string {
  const text = formatBytes(bytes);
  return text === formatBytes(requestedBytes) ? `${requestedBytes - bytes} bytes less` : text;
}

function cut(text: string): string {
  return text.length <= longestWhy ? text : `${text.slice(0, longestWhy - 1)}…`;
}

/** Few nodes: what is in the way on each. Many: what is in the way at all, for among thousands something changes every second. */
function kindOf(verdicts: readonly Verdict[], requestedBytes: bigint): string {
  const words =
    verdicts.length <= mostNodes
      ? verdicts.map(
          ({ candidate, obstacle }: { candidate: Candidate; obstacle: Obstacle }) =>
            `${candidate.node.name} ${family(obstacle)}`,
        )
      : verdicts.map(({ obstacle }) => family(obstacle));
  return JSON.stringify([String(requestedBytes), ...[...new Set(words)].toSorted()]);
}

/** No room at all and too little are one kind: a disk that fills up is no other trouble. */
function family(obstacle: Obstacle): string {
  return tellsRoom.has(obstacle) ? 'room' : obstacle;
}
