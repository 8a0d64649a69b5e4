import type { KindName, Kinds } from '../../kube/kinds.ts';
import type { KubeApi } from '../../kube/kube-api.ts';

/** What the story acts on and looks at. */
export interface World {
  readonly api: KubeApi;
  readonly signal: AbortSignal;
  readonly nodeName: string;
  readonly driverName: string;
  readonly poolName: string;
  readonly poolPath: string;
  /** kubelet's root directory: mounts for pods appear below it */
  readonly kubeletPath: string;
  readonly files: DemoFiles;
  /** where the volume of a pod is mounted, once kubelet did it */
  targetPathOf(pod: string, volumeName: string): string | undefined;
}

/** The story's own look at the disk, apart from what Loam says of it. */
export interface DemoFiles {
  /** as a container would */
  write(directoryPath: string, name: string, text: string): Promise<void>;
  read(path: string): Promise<string>;
  exists(path: string): Promise<boolean>;
  names(path: string): Promise<readonly string[]>;
  /** mount points at or below a path */
  mountsBelow(path: string): Promise<readonly string[]>;
  /** Opens a file and keeps it open, so that its blocks can still be looked at when it has no name any more. */
  hold(path: string): Promise<{ bytes(): Promise<Buffer>; close(): Promise<void> }>;
}

export const namespace = 'default';

/** A step's check that did not come true. */
export class StepFailure extends Error {
  override name = 'StepFailure';
}

const deadlineMs = 15_000;
const pollMs = 2;

/**
 * Looks until there is an answer.
 * @throws StepFailure after 15 s, naming what was waited for
 */
export async function until<T>(world: World, what: string, look: () => Promise<T | undefined>): Promise<T> {
  const endMs = Date.now() + deadlineMs;
  for (;;) {
    world.signal.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > endMs) throw new StepFailure(`${what} did not happen within ${deadlineMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** @throws StepFailure with the message where the claim is false */
export function expectTrue(claim: boolean, message: string): void {
  if (!claim) throw new StepFailure(message);
}

/** The object as it is now, or undefined where there is none. */
export async function find<K extends KindName>(
  world: World,
  kind: K,
  name: string,
): Promise<Kinds[K] | undefined> {
  const isNamespaced = kind !== 'PersistentVolume' && kind !== 'StorageClass';
  const { items } = await world.api.list(
    kind,
    { ...(isNamespaced ? { namespace } : {}), fieldSelector: `metadata.name=${name}` },
    world.signal,
  );
  return items[0];
}

/** The claim, once it is bound. */
export function boundClaim(world: World, name: string): Promise<Kinds['PersistentVolumeClaim']> {
  return until(world, `claim ${name} Bound`, async () => {
    const claim = await find(world, 'PersistentVolumeClaim', name);
    return claim?.status?.phase === 'Bound' ? claim : undefined;
  });
}

/** The path at which the pod's only claim is mounted, once the pod runs. */
export async function runningPodPath(world: World, pod: string, claim: string): Promise<string> {
  const { spec } = await boundClaim(world, claim);
  return until(world, `pod ${pod} Running`, async () => {
    const found = await find(world, 'Pod', pod);
    return found?.status?.phase === 'Running' ? world.targetPathOf(pod, spec.volumeName ?? '') : undefined;
  });
}

/** The text of an Event about a claim, once it was told. */
export function eventAbout(world: World, claim: string, reason: string): Promise<string> {
  return until(world, `event ${reason} on claim ${claim}`, async () => {
    const fieldSelector = `involvedObject.name=${claim},reason=${reason}`;
    const { items } = await world.api.list('Event', { namespace, fieldSelector }, world.signal);
    return items[0]?.message;
  });
}

export async function gone(world: World, kind: KindName, name: string): Promise<void> {
  await until(world, `${kind} ${name} gone`, async () =>
    (await find(world, kind, name)) === undefined ? true : undefined,
  );
}
