import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, NotYet } from '../support/eventually.ts';
import { leftoversBelow } from '../support/host-leftovers.ts';
import { patienceMs } from './campaign.ts';
import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import { type KeptVolume, Leaked, Lost, Stuck } from './kept-volume.ts';
import { removeSnapshot } from './snapshot-actors.ts';

const temporary = /^\.tmp-/;

/**
 * Waits until the API and the disk say what the model says, and looks into every volume.
 *
 * @throws Lost, Leaked or Stuck, which say what is wrong
 */
export async function checkWorld(world: FaultWorld, actors: ClusterActors): Promise<void> {
  await world.heal();
  await world.untilUp();
  let found: Differences = { missing: [], strange: [] };
  await eventually(
    'the disk and the API to be as the model says',
    async () => {
      found = await differences(world, actors);
      if (found.missing.length + found.strange.length === 0) return true;
      throw new NotYet('not yet');
    },
    patienceMs,
  ).catch((error: unknown) => {
    // what could not be looked at is neither missing nor too much
    if (found.missing.length + found.strange.length === 0) throw error;
    const text = `after ${patienceMs / 1000} s: missing ${found.missing.join(', ') || 'nothing'}; too much ${found.strange.join(', ') || 'nothing'}`;
    throw found.missing.length > 0 ? new Lost(text) : new Leaked(text);
  });
  for (const kept of actors.volumes) {
    const wasOpen = kept.pod !== undefined;
    if (wasOpen) await actors.look(kept);
    else await actors.open(kept);
    if (!wasOpen) await actors.close(kept);
  }
}

/** Everything is deleted, and then there is nothing. @param freeBytes what the pool could give before anything was made */
export async function checkEmptied(
  world: FaultWorld,
  actors: ClusterActors,
  freeBytes: bigint,
): Promise<void> {
  const { volumes, retained, recycled, orphans, archived, snapshots } = actors;
  await Promise.all(
    [...volumes, ...retained, ...recycled, ...orphans, ...archived].map((kept) => actors.finish(kept)),
  );
  await Promise.all([...snapshots].map((kept) => removeSnapshot(world, actors, kept)));
  await checkWorld(world, actors);
  const { findings } = await world.operator.plan();
  if (findings.length > 0) throw new Leaked(`loam gc finds ${JSON.stringify(findings)}`);
  const tolerance = 4n << 20n;
  let now = 0n;
  await eventually(
    'the pool to have its room again',
    async () => {
      now = await world.freeBytes();
      return now > freeBytes - tolerance;
    },
    20_000,
  ).catch(async () => {
    const account = await world.node.account().catch(String);
    throw new Leaked(
      `an empty pool can give ${now} bytes, ${freeBytes - now} less than before anything was made:\n${account}\n${sizesIn(world.poolPath)}`,
    );
  });
}

interface Differences {
  readonly missing: readonly string[];
  readonly strange: readonly string[];
}

async function differences(world: FaultWorld, actors: ClusterActors): Promise<Differences> {
  const wanted = wantedThings(actors);
  const there = [...(await objectsOf(world)), ...thingsOnDisk(world, actors)];
  const twice = there.filter((thing, at) => there.indexOf(thing) !== at);
  return {
    missing: wanted.filter((thing) => !there.includes(thing)),
    strange: [...there.filter((thing) => !wanted.includes(thing)), ...twice.map((thing) => `${thing} twice`)],
  };
}

function wantedThings({
  volumes,
  retained,
  recycled,
  orphans,
  archived,
  snapshots,
}: ClusterActors): string[] {
  const handleOf = ({ volume }: KeptVolume): string => volume.spec.csi?.volumeHandle ?? '';
  const there = (kept: KeptVolume, phase: string): string[] => [
    `PV ${kept.volume.metadata.name} ${phase}`,
    `handle ${handleOf(kept)}`,
    `volumes/${handleOf(kept)}`,
  ];
  return [
    ...[...volumes].flatMap((kept) => [
      `claim ${kept.claim.metadata.name} Bound to ${kept.volume.metadata.name}`,
      ...there(kept, 'Bound'),
    ]),
    ...[...retained].flatMap((kept) => there(kept, 'Released')),
    ...[...recycled].flatMap((kept) => there(kept, 'Available')),
    ...[...orphans].map((kept) => `volumes/${handleOf(kept)}`),
    ...[...archived].map((kept) => `archive/${handleOf(kept)}`),
    // links are for people, by the claim that a volume was made for; who has it after that one is not told by them
    ...[...volumes, ...retained, ...orphans]
      .filter(({ kind, isFound }) => kind !== 'recycle' && isFound !== true)
      .map(({ claim }) => `by-claim/default/${claim.metadata.name}`),
    ...[...snapshots].flatMap(({ content }) => [
      `content ${content.metadata.name}`,
      `snapshots/${content.status?.snapshotHandle}`,
    ]),
  ];
}

async function objectsOf({ plane, user }: FaultWorld): Promise<string[]> {
  const soon = AbortSignal.timeout(10_000);
  const claims = await plane.api.list('PersistentVolumeClaim', {}, soon);
  const contents = await plane.api.list('VolumeSnapshotContent', {}, soon);
  const volumes = await user.volumes();
  return [
    ...claims.items.map(({ metadata, spec, status }) =>
      status?.phase === 'Bound'
        ? `claim ${metadata.name} Bound to ${spec.volumeName}`
        : `claim ${metadata.name} ${status?.phase}`,
    ),
    ...volumes.map(({ metadata, status }) => `PV ${metadata.name} ${status?.phase}`),
    ...volumes.map(({ spec }) => `handle ${spec.csi?.volumeHandle}`),
    ...contents.items.map(({ metadata }) => `content ${metadata.name}`),
  ];
}

/** Volumes, snapshots, links, trash and half-written files of the pool; mounts and loop devices that no pod uses. */
function thingsOnDisk(world: FaultWorld, actors: ClusterActors): string[] {
  const { poolPath, kubeletPath } = world;
  const folders = ['volumes', 'snapshots', 'trash', 'archive', 'discovery'].flatMap((folder) =>
    entries(poolPath, folder),
  );
  const ofRecycled = [...actors.volumes, ...actors.recycled]
    .filter(({ kind }) => kind === 'recycle')
    .map(({ volume }) => volume.spec.csi?.volumeHandle ?? '');
  const links = entries(poolPath, 'by-claim')
    .flatMap((folder) => entries(poolPath, folder))
    .filter((link) => !ofRecycled.some((handle) => targetOf(join(poolPath, link)).endsWith(`/${handle}`)));
  const halfWritten = ['.', ...folders, 'by-claim']
    .flatMap((folder) => entries(poolPath, folder))
    .filter((path) => temporary.test(path.replace(/^.*\//, '')));
  const used = [...actors.volumes].flatMap(({ pod, volume }) =>
    pod === undefined
      ? []
      : [pod.paths.stagingPath, pod.paths.targetPath, volume.spec.csi?.volumeHandle ?? ''],
  );
  const mounts = leftoversBelow(kubeletPath).filter(
    (text) => !used.some((path) => text.endsWith(` ${path}`)),
  );
  const devices = leftoversBelow(`${poolPath}/`).filter((text) => text.startsWith('loop device '));
  const opened = [...actors.volumes].filter(({ pod }) => pod !== undefined).length;
  const expected = world.backend === 'loopback' ? opened : 0;
  const strangeDevices =
    devices.length > expected ? [`${devices.length} loop devices for ${expected} volumes in use`] : [];
  return [...folders, ...links, ...halfWritten, ...mounts, ...strangeDevices];
}

/** What takes the disk's blocks, whatever the files say of their sizes. */
function sizesIn(poolPath: string): string {
  return execFileSync('du', ['--all', '--block-size=1', poolPath], { encoding: 'utf8' }).trimEnd();
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}

function entries(base: string, folder: string): string[] {
  try {
    return readdirSync(join(base, folder)).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** For the totals: which of the three promises an error breaks. */
export function kindOf(error: unknown): 'lost' | 'leaked' | 'stuck' | undefined {
  if (error instanceof Lost) return 'lost';
  if (error instanceof Leaked) return 'leaked';
  if (error instanceof Stuck) return 'stuck';
  return undefined;
}
