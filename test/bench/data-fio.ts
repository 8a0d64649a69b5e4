import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DataLab, run } from './data-lab.ts';
import type { Report } from './report.ts';

export interface FioPlan {
  readonly rounds: number;
  readonly seconds: number;
  readonly fileMiB: number;
}

const patterns = {
  'sequential read': ['--rw=read', '--bs=1M', '--iodepth=4'],
  'sequential write': ['--rw=write', '--bs=1M', '--iodepth=4'],
  'random read 4k': ['--rw=randread', '--bs=4k', '--iodepth=16'],
  'random write 4k': ['--rw=randwrite', '--bs=4k', '--iodepth=16'],
} as const;
type Pattern = keyof typeof patterns;

const names = {
  directory: 'directory volume',
  loopback: 'loopback volume',
  bare: 'bare loop device',
} as const;
const leasts: Readonly<Record<string, string>> = { directory: '≥ 0.97', loopback: '≥ 0.9' };

/**
 * What a pod reads and writes on a volume, as a share of what the same program does in the pool itself. The pool is on the machine's
 * own file system, so that nothing but the volume is between; the places take turns, so that all meet the same disk. A loop device
 * without a file system or Loam stands beside the loopback volume: what it costs, the kernel takes.
 */
export async function measureFio({ rounds, seconds, fileMiB }: FioPlan, report: Report): Promise<void> {
  const lab = await DataLab.start('plain', 0);
  let device: string | undefined;
  try {
    const sizeBytes = BigInt(2 * fileMiB) << 20n;
    const directory = await lab.create({ backend: 'directory', limit: 'advisory' }, { sizeBytes });
    const loopback = await lab.create({ backend: 'loopback' }, { sizeBytes });
    const raw = lab.pool.at('raw');
    mkdirSync(raw);
    const image = lab.pool.at('bare');
    run('fallocate', '--length', `${2 * fileMiB}MiB`, image);
    device = run('losetup', '--find', '--show', '--direct-io=on', image).trim();
    const files = { raw, directory: directory.path, loopback: loopback.path };
    const places = {
      ...Object.fromEntries(Object.entries(files).map(([place, path]) => [place, join(path, 'fio')])),
      bare: device,
    };
    const rates = new Map<string, number[]>();
    for (const path of Object.values(places)) layOut(path, fileMiB);
    for (let round = 0; round < rounds; round += 1) {
      for (const pattern of Object.keys(patterns) as Pattern[]) {
        for (const [place, path] of inTurn(Object.entries(places), round)) {
          const rate = bytesPerSecond(path, pattern, { fileMiB, seconds });
          const key = `${pattern} ${place}`;
          rates.set(key, [...(rates.get(key) ?? []), rate]);
        }
      }
    }
    for (const pattern of Object.keys(patterns) as Pattern[]) tell(report, pattern, rates);
  } finally {
    if (device !== undefined) run('losetup', '--detach', device);
    await lab.stop();
  }
}

/** Who comes first changes from round to round: the machine may be slower or faster in between. */
function inTurn<T>(items: readonly T[], round: number): T[] {
  const first = round % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

const common = ['--name=bench', '--ioengine=libaio', '--direct=1', '--output-format=json', '--randrepeat=1'];

/** Every block is there before anything is measured. */
function layOut(path: string, fileMiB: number): void {
  const args = [`--filename=${path}`, `--size=${fileMiB}M`, '--rw=write', '--bs=4M', '--end_fsync=1'];
  run('fio', ...common, ...args);
}

function bytesPerSecond(
  path: string,
  pattern: Pattern,
  { fileMiB, seconds }: Pick<FioPlan, 'fileMiB' | 'seconds'>,
): number {
  const args = [`--filename=${path}`, `--size=${fileMiB}M`, '--time_based', `--runtime=${seconds}`];
  const output = JSON.parse(run('fio', ...common, ...args, ...patterns[pattern])) as {
    readonly jobs: readonly { readonly read: Rate; readonly write: Rate }[];
  };
  const [job] = output.jobs;
  return job === undefined ? Number.NaN : job.read.bw_bytes + job.write.bw_bytes;
}

interface Rate {
  readonly bw_bytes: number;
}

function tell(report: Report, pattern: Pattern, rates: ReadonlyMap<string, readonly number[]>): void {
  const of = (place: string) => rates.get(`${pattern} ${place}`) ?? [];
  const raw = of('raw');
  report(`fio.${pattern}.raw`, { measured: `${pattern}, the pool itself`, value: rateText(raw) }, raw);
  for (const [place, name] of Object.entries(names)) {
    const here = of(place);
    const shares = here.map((rate, round) => rate / (raw[round] ?? Number.NaN)).toSorted((a, b) => a - b);
    const [least = Number.NaN, most = Number.NaN] = [shares[0], shares.at(-1)];
    const value = `${middle(shares).toFixed(2)} of the pool (${least.toFixed(2)} to ${most.toFixed(2)}); ${rateText(here)}`;
    const row = { measured: `${pattern}, ${name}`, value, target: leasts[place] ?? '' };
    report(`fio.${pattern}.${place}`, row, { rates: here, shares });
  }
}

function rateText(rates: readonly number[]): string {
  const inMiB = (rate: number) => (rate / 2 ** 20).toFixed(0);
  return `${inMiB(middle(rates))} MiB/s (${inMiB(Math.min(...rates))} to ${inMiB(Math.max(...rates))})`;
}

function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
