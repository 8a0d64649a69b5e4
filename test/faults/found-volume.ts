import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { patienceMs } from './campaign.ts';
import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import { writeSynced } from './kept-volume.ts';
import { inTime } from './patience.ts';
import type { KeptVolume } from './kept-volume.ts';

let count = 0;

/** Somebody puts a folder into the discovery folder of the pool, one at a time, and a claim gets it with all that is in it. */
export async function find(world: FaultWorld, actors: ClusterActors): Promise<KeptVolume> {
  const { poolPath, user } = world;
  count += 1;
  const folder = join(poolPath, 'discovery');
  const [hidden, shown] = [join(folder, `.found-${count}`), join(folder, `found-${count}`)];
  await mkdir(hidden, { recursive: true });
  const sum = await writeSynced(hidden, 'brought', randomBytes(64 << 10));
  const before = new Set((await user.volumes()).map(({ metadata }) => metadata.uid));
  await rename(hidden, shown);
  const volume = await inTime(
    eventually(
      `${shown} to be offered`,
      async () =>
        (await user.volumes()).find(
          ({ metadata, status }) =>
            !before.has(metadata.uid) &&
            metadata.annotations?.['loam.dev/adopted'] === 'discovered' &&
            status?.phase === 'Available',
        ),
      patienceMs,
      100,
    ),
  );
  const name = `of-found-${count}`;
  const found: KeptVolume = {
    kind: 'retain',
    isFound: true,
    claim: { metadata: { name, namespace: 'default' }, spec: {} },
    volume,
    files: new Map([['brought', sum]]),
    sizeMiB: 16,
  };
  return actors.claimAgain(found, name);
}
