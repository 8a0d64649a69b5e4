import type { BackendFeatures, BackendProbe } from '../backends/backend.ts';
import type { ClassParameters, ScrubMethod } from '../model/class-parameters.ts';
import { StorageError, type Reason } from '../model/errors.ts';
import type { BackendName, FsType } from '../model/volume.ts';

/** What of a request decides which backend can serve it. */
export interface BackendWish {
  readonly backend: ClassParameters['backend'];
  readonly limit: ClassParameters['limit'];
  readonly provisioning: ClassParameters['provisioning'];
  readonly accessType: 'mount' | 'block';
  readonly fsType?: FsType;
  /** unset: the bytes need not be overwritten in the end */
  readonly scrub?: ScrubMethod;
}

/** One backend in one pool, as probing found it. */
export interface BackendOffer {
  readonly name: BackendName;
  readonly features: BackendFeatures;
  readonly probe: BackendProbe;
}

/** What of a pool decides, whatever the backend. */
export interface PoolFacts {
  /** overwriting a file there writes elsewhere */
  readonly isCopyOnWrite: boolean;
  /** whether a limit counts that holds only who does not set out to get around it */
  readonly trustsTenants: boolean;
}

export interface BackendRefusal {
  readonly reason: Reason;
  readonly text: string;
}

export type BackendChoice =
  | { readonly kind: 'chosen'; readonly offer: BackendOffer }
  | { readonly kind: 'none'; readonly refusal: BackendRefusal };

/** The faster kinds, the fastest first: on a pool whose tenants are trusted `auto` takes one whose limit was seen to hold. */
const fastOrder: readonly BackendName[] = ['btrfs', 'directory'];

/** Which backend of one pool serves the wish; where none does, why, for each that was looked at. */
export function chooseBackend(
  wish: BackendWish,
  offers: readonly BackendOffer[],
  pool: PoolFacts,
): BackendChoice {
  const unerasable = refuseScrub(wish, pool);
  if (unerasable !== undefined) return { kind: 'none', refusal: unerasable };
  const names = wish.backend === 'auto' ? autoOrder(offers, pool) : [wish.backend];
  const refusals: BackendRefusal[] = [];
  for (const name of names) {
    const offer = offers.find((candidate) => candidate.name === name);
    if (offer === undefined) {
      refusals.push({ reason: 'unsupported-capability', text: `${name} is not built in` });
      continue;
    }
    const refusal = refuse(wish, offer, pool);
    if (refusal === undefined) return { kind: 'chosen', offer };
    refusals.push({ reason: refusal.reason, text: `${name}: ${refusal.text}` });
  }
  return { kind: 'none', refusal: merge(refusals) };
}

/**
 * An image comes first: it is the only kind whose limit no pod can get around. What is behind it serves a class that accepts an
 * advisory limit, where loop devices do not work.
 */
function autoOrder(offers: readonly BackendOffer[], pool: PoolFacts): readonly BackendName[] {
  const fast = fastOrder.flatMap((name) => offers.find((offer) => offer.name === name) ?? []);
  const holding = fast.filter(({ probe }) => pool.trustsTenants && probe.usable && probe.enforcesLimit);
  const others = fast.filter((offer) => !holding.includes(offer)).toReversed();
  return [...holding.map(({ name }) => name), 'loopback', ...others.map(({ name }) => name)];
}

/** The pools' refusals as one error that says why for each. */
export function noBackendError(refusals: ReadonlyMap<string, BackendRefusal>): StorageError {
  const merged = merge([...refusals.values()]);
  const perPool = [...refusals].map(([pool, refusal]) => `pool ${pool}: ${refusal.text}`).join('; ');
  return new StorageError(merged.reason, `no pool of this node can serve the class: ${perPool}`);
}

function refuse(wish: BackendWish, offer: BackendOffer, pool: PoolFacts): BackendRefusal | undefined {
  const { features, probe } = offer;
  if (wish.accessType === 'block' && !features.block) {
    return unsupported('has no raw block; use backend: loopback, or volumeMode: Filesystem');
  }
  if (wish.fsType !== undefined && wish.accessType === 'mount' && !features.fsTypes.includes(wish.fsType)) {
    const has =
      features.fsTypes.length === 0
        ? "has the pool's own file system"
        : `makes ${features.fsTypes.join(', ')}`;
    return unsupported(`${has}, not ${wish.fsType}; use backend: loopback, or name no file system`);
  }
  if (wish.provisioning === 'thick' && !features.thick) {
    return { reason: 'invalid-parameter', text: 'cannot allocate ahead; remove provisioning: thick' };
  }
  if (!probe.usable) {
    return probe.isProvisional === true
      ? unavailable(`could not be tried: ${probe.detail}`)
      : unsupported(`does not work here: ${probe.detail}`);
  }
  if (wish.limit === 'enforced' && !probe.enforcesLimit) {
    if (probe.isProvisional === true)
      return unavailable(`whether it holds a size limit could not be tried: ${probe.detail}`);
    return {
      reason: 'limit-not-enforced',
      text: `nothing holds a size limit here (${probe.detail}); use backend: loopback, or accept it with limit: advisory`,
    };
  }
  if (wish.limit === 'enforced' && probe.holdsAgainst === 'trusted' && !pool.trustsTenants) {
    return {
      reason: 'limit-not-enforced',
      text:
        `a pod that sets out to can get around its size limit (${probe.detail}); use backend: loopback, ` +
        'mark the pool tenants=trusted if no pod does, or accept it with limit: advisory',
    };
  }
  return undefined;
}

/** Said before the volume is made: afterwards it could be neither erased nor, since that was promised, removed. */
function refuseScrub({ scrub }: BackendWish, { isCopyOnWrite }: PoolFacts): BackendRefusal | undefined {
  if (!isCopyOnWrite || scrub === undefined || scrub === 'discard') return undefined;
  return {
    reason: 'cannot-erase',
    text:
      `its file system is copy-on-write, where scrub: ${scrub} leaves the old bytes on the disk; ` +
      'use scrub: discard, onDelete: delete, or a pool on ext4 or xfs',
  };
}

/** Not the class's fault, nor for long. */
function unavailable(text: string): BackendRefusal {
  return { reason: 'pool-unavailable', text: `${text}; it is tried again` };
}

function unsupported(text: string): BackendRefusal {
  return { reason: 'unsupported-capability', text };
}

/** The reason nearest to success counts: what may pass by itself, then a limit that could be waived, which says more than a shape that never fits. */
function merge(refusals: readonly BackendRefusal[]): BackendRefusal {
  const withReason = (reason: Reason) => refusals.find((refusal) => refusal.reason === reason);
  const nearest = withReason('pool-unavailable') ?? withReason('limit-not-enforced');
  const reason = (nearest ?? refusals[0])?.reason ?? 'unsupported-capability';
  return { reason, text: refusals.map((refusal) => refusal.text).join('; ') };
}
