import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findBroken, lineTakesMs, type Cut, type HeardNews } from '../support/power-cuts.ts';
import { until } from '../support/volume-lab.ts';
import { VolatileDisk } from '../support/volatile-disk.ts';
import { packFileTree } from './file-tree.ts';
import { fetchKernel, type Kernel } from './kernel.ts';
import { runMachine, whyNoMachine } from './machine.ts';
import { powerPrefix, type NewsKind, type PowerNews } from './power-guest/news.ts';

const project = join(import.meta.dirname, '../..');
const cachePath = join(process.env['LOAM_CACHE'] ?? join(project, '.cache'), 'quota');
const whyNot = whyNoMachine() || (process.geteuid?.() === 0 ? '' : ' (skipped: needs root)');
const cutCount = 20;
const bootMs = 180_000;

/** The next answer, by which the disk's cache has been told what it has to keep. */
async function untilAnswered(heard: readonly HeardNews[]): Promise<void> {
  const answers = () =>
    heard.filter(({ kind }) => /^(made|used|captured|recycled|deleted)$/.test(kind)).length;
  const before = answers();
  await until(() => answers() > before, 30_000);
  await delay(Math.random() * 60);
}

/** A machine on a disk with a forgetful cache, until the power goes. */
async function run(
  imagePath: string,
  parts: { readonly kernel: Kernel; readonly archivePath: string; readonly folder: string },
  meanwhile: (disk: VolatileDisk, news: readonly HeardNews[]) => Promise<void>,
): Promise<readonly HeardNews[]> {
  const socketPath = join(parts.folder, 'disk.sock');
  rmSync(socketPath, { force: true });
  await using disk = await VolatileDisk.serve(imagePath, socketPath);
  const news: HeardNews[] = [];
  const power = new AbortController();
  const onLine = (line: string): void => {
    const at = line.indexOf(powerPrefix);
    if (at === -1) return;
    const heard = JSON.parse(line.slice(at + powerPrefix.length)) as PowerNews;
    news.push({ ...heard, atMs: performance.now() });
  };
  const drive = `file=nbd+unix:///?socket=${socketPath},format=raw,if=virtio,cache=writeback`;
  const running = runMachine(parts.kernel, parts.archivePath, bootMs + 60_000, {
    args: ['-drive', drive],
    onLine,
    powerCut: power.signal,
  });
  try {
    await until(() => news.some(({ kind }) => kind === 'ready' || kind === 'failed'), bootMs);
    expect(news.filter(({ kind }) => kind === 'failed')).toEqual([]);
    await meanwhile(disk, news);
  } catch (error) {
    power.abort();
    throw new Error((await running).console.slice(-2000), { cause: error });
  } finally {
    power.abort();
  }
  await running;
  return news;
}

describe.skipIf(whyNot !== '')(`a node whose power goes${whyNot}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'loam-power-'));
  const cuts: Cut[] = [];
  let news: readonly HeardNews[] = [];
  let parts: { kernel: Kernel; archivePath: string; folder: string };

  beforeAll(async () => {
    mkdirSync(cachePath, { recursive: true });
    const kernel = fetchKernel(cachePath);
    const archivePath = join(folder, 'machine.cpio');
    await packFileTree(kernel, join(import.meta.dirname, 'power-guest/main.ts'), archivePath);
    parts = { kernel, archivePath, folder };
    const imagePath = join(folder, 'new.img');
    execFileSync('truncate', ['-s', '96M', imagePath]);
    execFileSync('mkfs.ext4', ['-q', imagePath]);
    news = await run(imagePath, parts, async (disk, heard) => {
      for (let index = 0; index < cutCount; index += 1) {
        // at any moment, or right after somebody was answered
        if (index % 2 === 0) await delay(100 + Math.random() * 700);
        else await untilAnswered(heard);
        const atMs = performance.now();
        const cutPath = join(folder, `cut-${index}.img`);
        // nothing, a half or all of what the cache held
        const share = [0, 0.5, 1][index % 3] ?? 0;
        disk.cut(cutPath, () => Math.random() < share);
        cuts.push({ imagePath: cutPath, atMs });
      }
      await delay(lineTakesMs);
      expect(disk.flushes).toBeGreaterThan(50);
    });
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('at any moment keeps every volume, snapshot and byte that somebody was answered for, and brings nothing back', async () => {
    const heard = (kind: NewsKind) => news.filter((one) => one.kind === kind).length;
    // or all of this shows nothing
    expect(heard('made')).toBeGreaterThan(8);
    expect(heard('deleted')).toBeGreaterThan(4);
    expect(heard('recycled')).toBeGreaterThan(1);
    const broken: Record<string, readonly string[]> = {};
    for (const [index, cut] of cuts.entries()) {
      const found = await findBroken(cut, news);
      if (found.length > 0) broken[`cut ${index}`] = found;
    }
    console.log(`${cuts.length} power cuts, ${news.length} answers, ${heard('made')} volumes made`);
    expect(broken).toEqual({});
  }, 300_000);

  it('boots again on what is left, and goes on', async () => {
    const last = cuts.at(-1);
    if (last === undefined) throw new Error('there was no power cut');
    const again = await run(last.imagePath, parts, async (_disk, heard) => {
      await until(() => heard.some(({ kind }) => kind === 'made'), 60_000);
    });
    expect(again.some(({ kind }) => kind === 'failed')).toBe(false);
  }, 300_000);
});
