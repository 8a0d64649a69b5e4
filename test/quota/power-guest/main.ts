import { execFileSync } from 'node:child_process';
import { mkdirSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { DirectoryBackend } from '../../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../../src/backends/loopback/backend.ts';
import type { Pools } from '../../../src/volumes/pools/open-pools.ts';
import { VolumeService } from '../../../src/volumes/volume-service.ts';
import { openOnePool } from '../../support/open-one-pool.ts';
import { powerPrefix, type PowerNews } from './news.ts';

// A node whose power goes: makes, fills, captures, recycles and deletes volumes on its only disk without end, and says what it was answered.
const poolPath = '/pool';
const console_ = openSync('/dev/console', 'w');

function say(news: PowerNews): void {
  writeSync(console_, `${powerPrefix}${JSON.stringify(news)}\n`);
}

async function start(): Promise<{ readonly service: VolumeService; readonly pools: Pools }> {
  mkdirSync(poolPath, { recursive: true });
  execFileSync('mount', ['-t', 'ext4', '/dev/vda', poolPath]);
  const environment = await openOnePool({ poolPath, runDir: '/tmp/run', stateDir: '/tmp/state' }, [
    new LoopbackBackend({ poolPaths: [poolPath] }),
    new DirectoryBackend({ poolPaths: [poolPath] }),
  ]);
  const service = new VolumeService(environment, { name: 'loam.dev', vendorVersion: 'test' });
  return { service, pools: environment.pools };
}

const call = { signal: new AbortController().signal };

const episodeMs = 4000;
const isCalm = (): boolean => Math.floor(Date.now() / episodeMs) % 2 === 1;

/**
 * Every other while only one lane works, and rests after each answer: among others, the next flush of somebody else would hide that one
 * was forgotten.
 */
async function rest(lane: number): Promise<void> {
  if (!isCalm()) return;
  if (lane === 1) await delay(250);
  else while (isCalm()) await delay(50);
}

async function live(
  { service, pools }: Awaited<ReturnType<typeof start>>,
  lane: number,
  boot: string,
): Promise<void> {
  for (let round = 0; ; round += 1) {
    const isImage = lane === 0;
    const name = `pvc-${boot}-${lane}-${round}`;
    const { volumeId } = await service.createVolume(
      {
        name,
        capacityRange: { requiredBytes: 4n << 20n, limitBytes: 0n },
        capabilities: [
          { accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'mount', fsType: '', mountFlags: [] } },
        ],
        parameters: isImage ? { backend: 'loopback' } : { backend: 'directory', limit: 'advisory' },
      },
      call,
    );
    say({ kind: 'made', id: volumeId });
    await rest(lane);
    if (!isImage) await fill(volumeId);
    await service.acknowledge(volumeId);
    // as a stage does
    const located = pools.locate(volumeId);
    await located?.pool.records.markUsed(located.record);
    say({ kind: 'used', id: volumeId });
    await rest(lane);
    if (round % 3 === 0) {
      const { snapshotId } = await service.createSnapshot(
        { name, sourceVolumeId: volumeId, parameters: {} },
        call,
      );
      say({ kind: 'captured', id: snapshotId });
      await rest(lane);
      if (isImage || round % 2 === 0) {
        say({ kind: 'deleting', id: snapshotId });
        await service.deleteSnapshot(snapshotId, call);
        say({ kind: 'deleted', id: snapshotId });
        await rest(lane);
      }
    }
    if (round % 2 === 1 && !isImage) {
      say({ kind: 'recycling', id: volumeId });
      await service.recycle({ volumeId }, call);
      say({ kind: 'recycled', id: volumeId });
      await rest(lane);
    }
    if (!isImage && [2, 3].includes(round % 8)) continue;
    say({ kind: 'deleting', id: volumeId });
    await service.deleteVolume({ volumeId }, call);
    say({ kind: 'deleted', id: volumeId });
    await rest(lane);
  }
}

/** As a careful pod does: what it said to have written is on disk. */
async function fill(volumeId: string): Promise<void> {
  const file = await open(join(poolPath, 'volumes', volumeId, 'data/file'), 'w');
  await file.writeFile(volumeId.repeat(200));
  await file.sync();
  await file.close();
  const folder = await open(join(poolPath, 'volumes', volumeId, 'data'), 'r');
  await folder.sync();
  await folder.close();
  say({ kind: 'filled', id: volumeId });
}

try {
  const boot = execFileSync('cat', ['/proc/sys/kernel/random/uuid'], { encoding: 'utf8' }).slice(0, 8);
  const node = await start();
  say({ kind: 'ready', id: boot });
  await Promise.all([0, 1, 2].map((lane) => live(node, lane, boot)));
} catch (error) {
  say({ kind: 'failed', id: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
