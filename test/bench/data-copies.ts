import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BenchVolume, DataLab, run, writeData } from './data-lab.ts';
import { milliseconds, spreadOf, spreadText, type Spread } from './figures.ts';
import type { Report } from './report.ts';

export interface CopyPlan {
  readonly poolKind: 'xfs' | 'btrfs';
  readonly fsType: 'ext4' | 'xfs';
  readonly imageBytes: bigint;
  readonly dataBytes: number;
  readonly rounds: number;
}

/**
 * Snapshots, clones and restores of a mounted image, with something fresh in it that is not written yet, beside what a shell would do
 * with the file: in turns, so that all meet the same disk.
 */
export async function measureCopies(plan: CopyPlan, report: Report): Promise<void> {
  const { poolKind, fsType, imageBytes, dataBytes, rounds } = plan;
  const lab = await DataLab.start(poolKind, 24 << 10);
  try {
    const parameters = { backend: 'loopback', 'csi.storage.k8s.io/fstype': fsType };
    const volume = await lab.create(parameters, { sizeBytes: imageBytes });
    writeData(volume.path, dataBytes);
    const image = join(volume.placePath, 'image');
    const copy = lab.pool.at('copy');
    const times = {
      snapshot: [] as number[],
      clone: [] as number[],
      restore: [] as number[],
      frozenCp: [] as number[],
      cp: [] as number[],
    };
    for (let round = 0; round < rounds; round += 1) {
      freshen(volume, round);
      const snapshotId = await timed(times.snapshot, () => lab.snapshot(volume));
      freshen(volume, round);
      const request = { sizeBytes: imageBytes, stage: false } as const;
      const clone = await timed(times.clone, () =>
        lab.create(parameters, { ...request, source: { kind: 'volume', volumeId: volume.id } }),
      );
      const restored = await timed(times.restore, () =>
        lab.create(parameters, { ...request, source: { kind: 'snapshot', snapshotId } }),
      );
      freshen(volume, round);
      await timed(times.cp, () => Promise.resolve(run('cp', '--reflink=always', image, copy)));
      rmSync(copy);
      freshen(volume, round);
      await timed(times.frozenCp, () =>
        Promise.resolve(run('sh', '-c', frozenCopy, 'sh', volume.path, image, copy)),
      );
      rmSync(copy);
      for (const made of [clone, restored]) await lab.delete(made);
      await lab.deleteSnapshot(snapshotId);
    }
    const full: number[] = [];
    await timed(full, () =>
      Promise.resolve(run('sh', '-c', 'cp --reflink=never "$1" "$2" && sync "$2"', 'sh', image, copy)),
    );
    tell(report, plan, times, full[0] ?? Number.NaN);
  } finally {
    await lab.stop();
  }
}

/** Waits as the kernel does for everybody who has the file system open to have heard of the freeze, however little there is to write. */
const frozenCopy =
  'fsfreeze --freeze "$1" && { cp --reflink=always "$2" "$3"; done=$?; fsfreeze --unfreeze "$1" && exit $done; }';

function freshen({ path }: BenchVolume, round: number): void {
  writeFileSync(join(path, 'fresh'), Buffer.alloc(1 << 20, round));
}

export async function timed<T>(times: number[], act: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await act();
  times.push(performance.now() - startMs);
  return result;
}

function tell(
  report: Report,
  { poolKind, fsType, imageBytes, dataBytes }: CopyPlan,
  times: Readonly<Record<'snapshot' | 'clone' | 'restore' | 'frozenCp' | 'cp', readonly number[]>>,
  fullMs: number,
): void {
  const what = `${imageBytes >> 30n} GiB ${fsType} image with ${(dataBytes / 2 ** 30).toFixed(1)} GiB, pool on ${poolKind}`;
  const key = `copies.${poolKind}.${fsType}`;
  const bare = spreadOf(times.cp);
  const frozen = spreadOf(times.frozenCp);
  for (const kind of ['snapshot', 'clone', 'restore'] as const) {
    const spread = spreadOf(times[kind]);
    report(
      `${key}.${kind}`,
      {
        measured: `${kind}, mounted ${what}`,
        value:
          `${spreadText(spread)}; ${difference(spread, bare)} than cp --reflink=always` +
          (kind === 'restore' ? '' : `, ${difference(spread, frozen)} than with fsfreeze around it`),
        // xfs wants its whole log written anew for another uuid
        ...(fsType === 'ext4' ? { target: 'p50 ≤ 100 ms, ≤ 50 ms more than cp' } : {}),
      },
      spread,
    );
  }
  report(`${key}.cp`, { measured: `cp --reflink=always of it`, value: spreadText(bare) }, bare);
  report(
    `${key}.frozenCp`,
    { measured: `fsfreeze, cp --reflink=always, thaw`, value: spreadText(frozen) },
    frozen,
  );
  report(
    `${key}.full`,
    { measured: `cp --reflink=never of it, synced`, value: milliseconds(fullMs) },
    fullMs,
  );
}

function difference(spread: Spread, bare: Spread): string {
  const moreMs = spread.p50 - bare.p50;
  return `${milliseconds(Math.abs(moreMs))} ${moreMs < 0 ? 'less' : 'more'}`;
}
