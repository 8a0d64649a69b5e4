import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { messageOf } from '../../src/model/errors.ts';
import type { PowerNews } from '../quota/power-guest/news.ts';
import { clearLeftovers } from './host-leftovers.ts';
import { until, VolumeLab, type LabProcess } from './volume-lab.ts';

/** A line of the machine, and when it was heard. */
export interface HeardNews extends PowerNews {
  readonly atMs: number;
}

/** What one power cut would have left, and when. */
export interface Cut {
  readonly imagePath: string;
  readonly atMs: number;
}

/** Longer than a line of the machine is under way: what is asked for after this had not begun when the power went. */
export const lineTakesMs = 3000;

/** Who was answered what when the power went. */
function promisesAt(news: readonly HeardNews[], atMs: number) {
  const before = (kind: PowerNews['kind']) =>
    new Set(news.filter((heard) => heard.kind === kind && heard.atMs <= atMs).map(({ id }) => id));
  const asked = (kind: PowerNews['kind']) =>
    new Set(
      news.filter((heard) => heard.kind === kind && heard.atMs <= atMs + lineTakesMs).map(({ id }) => id),
    );
  const deleting = asked('deleting');
  const recycling = asked('recycling');
  const kept = (ids: ReadonlySet<string>) => [...ids].filter((id) => !deleting.has(id));
  return {
    volumes: kept(before('made')).filter((id) => !recycling.has(id)),
    filled: kept(before('filled')).filter((id) => !recycling.has(id)),
    recycled: kept(before('recycled')),
    used: kept(before('used')).filter((id) => !recycling.has(id)),
    snapshots: kept(before('captured')),
    deleted: [...before('deleted')],
  };
}

/** Opens what a power cut left, as the next boot does, and says what of the promises is broken; empty: nothing. */
export async function findBroken(cut: Cut, news: readonly HeardNews[]): Promise<string[]> {
  const lab = await VolumeLab.make();
  const poolPath = lab.poolPath();
  try {
    execFileSync('mount', ['-o', 'loop', cut.imagePath, poolPath]);
    const process = await lab.start({
      backends: [
        new LoopbackBackend({ poolPaths: [poolPath] }),
        new DirectoryBackend({ poolPaths: [poolPath] }),
      ],
      realMounts: true,
    });
    const [trouble] = process.pools.unavailable();
    if (trouble !== undefined) return [`the pool does not open: ${trouble.why}`];
    return [
      ...(await brokenPromises(process, poolPath, promisesAt(news, cut.atMs))),
      ...(await leftovers(process, poolPath)),
    ];
  } finally {
    await lab.clear().catch(() => {});
    clearLeftovers(lab.root);
    rmSync(lab.root, { recursive: true, force: true });
  }
}

async function brokenPromises(
  { service }: LabProcess,
  poolPath: string,
  promised: ReturnType<typeof promisesAt>,
): Promise<string[]> {
  const broken: string[] = [];
  for (const id of promised.volumes.concat(promised.recycled)) {
    const folder = join(poolPath, 'volumes', id);
    try {
      const { condition } = await service.getVolume(id);
      if (condition.abnormal) broken.push(`${id}: ${condition.message}`);
      if (existsSync(join(folder, 'image')))
        execFileSync('e2fsck', ['-fn', join(folder, 'image')], { stdio: 'pipe' });
    } catch (error) {
      broken.push(`${id} was made and is not whole: ${messageOf(error)}`);
    }
  }
  for (const id of promised.filled) {
    const path = join(poolPath, 'volumes', id, 'data/file');
    const content = existsSync(path) ? readFileSync(path, 'utf8') : '';
    if (content !== id.repeat(200))
      broken.push(`${id}: what the pod has synced is not there (${content.length} bytes)`);
  }
  for (const id of promised.recycled) {
    const names = readdirSync(join(poolPath, 'volumes', id, 'data'));
    if (names.length > 0) broken.push(`${id} was emptied and holds ${names.join(', ')} again`);
  }
  // what may hold somebody's bytes is never swept as something that was begun in vain
  for (const id of promised.used)
    if (!service.wasUsed(id)) broken.push(`${id}: that it was used is forgotten`);
  for (const id of promised.snapshots) {
    await service.getSnapshot(id).catch((error: unknown) => broken.push(`${id}: ${messageOf(error)}`));
  }
  for (const id of promised.deleted) {
    for (const folder of ['volumes', 'snapshots'])
      if (existsSync(join(poolPath, folder, id))) broken.push(`${id} was deleted and is back in ${folder}`);
  }
  return broken;
}

/** What was half made or half removed is put in order by the start. */
async function leftovers({ service }: LabProcess, poolPath: string): Promise<string[]> {
  const broken: string[] = [];
  await until(() => readdirSync(join(poolPath, 'trash')).length === 0, 20_000).catch(() =>
    broken.push(`the trash is not emptied: ${readdirSync(join(poolPath, 'trash')).join(', ')}`),
  );
  const { entries } = await service.listVolumes({ maxEntries: 0, startingToken: '' });
  const known = new Set(entries.map(({ volume }) => volume.volumeId));
  for (const name of readdirSync(join(poolPath, 'volumes')))
    if (!known.has(name)) broken.push(`volumes/${name} is no volume`);
  return broken;
}
