/** `scripts/bench delete`: see its --help. */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { isReason } from '../../src/model/errors.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { startVolumeStack, type VolumeStack } from '../../src/roles/volume-stack.ts';
import { eventually } from '../support/eventually.ts';
import { ScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { callFor, createRequest, GiB, mountCapability } from '../support/volume-lab.ts';
import { mostAddedMs, tooMuch } from './check-added.ts';
import { milliseconds, printTable, spreadOf, spreadText, type Row, type Spread } from './figures.ts';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'string' },
    quick: { type: 'boolean' },
    check: { type: 'boolean' },
    files: { type: 'string', default: '1000000' },
    pool: { type: 'string', multiple: true, default: ['ext4', 'xfs'] },
  },
});
if (process.geteuid?.() !== 0) {
  console.error('scripts/bench delete mounts file systems: run it as root');
  process.exit(1);
}
const isQuick = flags.quick === true;
const files = isQuick ? 100_000 : Number(flags.files);
const imageBytes = (isQuick ? 256 : 2048) * 2 ** 20;
const baselineMs = isQuick ? 5_000 : 20_000;
const longMs = 30 * 60_000;
const verbs = ['create', 'publish', 'delete'] as const;
type Times = Record<(typeof verbs)[number], number[]>;

const rows: Row[] = [];
/** what deleting adds that is more than promised */
const excesses: string[] = [];
const figures: Record<string, unknown> = { machine: { cpus: cpus().length, model: cpus()[0]?.model }, files };
function report(key: string, row: Row, value: unknown): void {
  rows.push(row);
  figures[key] = value;
  console.error(`${row.measured}: ${row.value}`);
}

/** Half of the files in one directory, the others a thousand in each. */
function makeTree(path: string, count: number): void {
  mkdirSync(join(path, 'one'));
  for (let index = 0; index < count; index += 1) {
    const many = join(path, `many-${Math.floor(index / 2000)}`);
    if (index % 2000 === 1) mkdirSync(many);
    const folder = index % 2 === 0 ? join(path, 'one') : many;
    closeSync(openSync(join(folder, `file-${index}`), 'w'));
  }
}

function writeImage(path: string, bytes: number): void {
  const file = openSync(path, 'r+');
  const piece = Buffer.alloc(1 << 20, 'x');
  for (let at = 0; at < bytes; at += piece.length) writeSync(file, piece, 0, piece.length, at);
  closeSync(file);
}

/** What others do all the while: a volume is made, given to a pod, taken away and deleted. */
class Others {
  readonly #stack: VolumeStack;
  readonly #base: string;
  #count = 0;

  constructor(stack: VolumeStack, base: string) {
    this.#stack = stack;
    this.#base = base;
  }

  /** Goes on until `isOver`, and tells how long each verb took. */
  async run(isOver: () => boolean): Promise<Times> {
    const times: Times = { create: [], publish: [], delete: [] };
    while (!isOver()) await this.#once(times);
    return times;
  }

  async #once(times: Times): Promise<void> {
    const { controller, node } = this.#stack;
    const id = `pvc-other-${(this.#count += 1)}`;
    const stagingTargetPath = join(this.#base, 'staging', id);
    const targetPath = join(this.#base, 'pods', id);
    mkdirSync(stagingTargetPath, { recursive: true });
    mkdirSync(join(this.#base, 'pods'), { recursive: true });
    const where = { volumeId: id, stagingTargetPath, capability: mountCapability, volumeContext: {} };
    await timed(times.create, () => controller.createVolume(requestOf(id), callFor(longMs)));
    await timed(times.publish, async () => {
      await node.stage(where, callFor(longMs));
      await node.publish({ ...where, targetPath, readonly: false }, callFor(longMs));
    });
    await node.unpublish({ volumeId: id, targetPath }, callFor(longMs));
    await node.unstage({ volumeId: id, stagingTargetPath }, callFor(longMs));
    // another process of the machine may have taken a mount with it into a namespace of its own, for a moment
    await eventually(`volume ${id} unused`, async () => {
      const deleting = timed(times.delete, () => controller.deleteVolume({ volumeId: id }, callFor(longMs)));
      return deleting.then(
        () => true,
        (error: unknown) => {
          if (isReason(error, 'in-use')) return false;
          throw error;
        },
      );
    });
  }
}

async function timed(times: number[], act: () => Promise<unknown>): Promise<void> {
  const begun = performance.now();
  await act();
  times.push(performance.now() - begun);
}

function requestOf(name: string, parameters: Readonly<Record<string, string>> = {}, sizeBytes = GiB) {
  return createRequest(name, {
    capacityRange: { requiredBytes: sizeBytes, limitBytes: 0n },
    parameters: { backend: 'directory', limit: 'advisory', ...parameters },
  });
}

/** Deletes a volume, others at work all the while. */
async function deleteBeside(others: Others, stack: VolumeStack, volumeId: string) {
  const stalls = monitorEventLoopDelay({ resolution: 5 });
  stalls.enable();
  const begun = performance.now();
  let tookMs = 0;
  const deleting = stack.controller.deleteVolume({ volumeId }, callFor(longMs)).then(() => {
    tookMs = performance.now() - begun;
  });
  const times = await others.run(() => tookMs > 0);
  await deleting;
  stalls.disable();
  return { times, tookMs, stallMs: stalls.max / 1e6 };
}

function compare(key: string, what: string, alone: Times, beside: Times): void {
  for (const verb of verbs) {
    const [before, during] = [spreadOf(alone[verb]), spreadOf(beside[verb])];
    const row = { measured: `${what}: ${verb}`, value: spreadText(during) };
    report(`${key}.${verb}`, row, { before, during });
    const added = (of: (spread: Spread) => number): string => milliseconds(of(during) - of(before));
    const value = `p50 ${added((each) => each.p50)}, p99 ${added((each) => each.p99)}, max ${added((each) => each.max)}`;
    const isFiles = key.endsWith('files');
    if (isFiles) excesses.push(...tooMuch(`${what}: ${verb}`, before, during));
    const target = { target: isFiles ? `p99, max <= ${mostAddedMs} ms` : '' };
    report(`${key}.${verb}.added`, { measured: `${what}: added to ${verb}`, value, ...target }, {});
  }
}

async function measure(kind: PoolKind): Promise<void> {
  // an inode for each 16 KiB is what ext4 makes
  const pool = ScratchPool.make(kind, Math.ceil((files * 20) / 1024) + 8192);
  const base = mkdtempSync(join(tmpdir(), 'loam-bench-delete-'));
  const stopping = new AbortController();
  let stack: VolumeStack | undefined;
  try {
    const config = { name: 'bench', path: pool.path, overcommitRatio: 1000, reservedShare: 0 };
    stack = await startVolumeStack(
      {
        driverName: 'loam.dev',
        nodeName: 'bench',
        pools: [{ ...config, initialise: true }],
        runDir: join(base, 'run'),
        stateDir: join(base, 'state'),
        // the defaults, as a node runs
        scrubBytesPerSecond: 200n << 20n,
        removeFilesPerSecond: 20_000,
        maxVolumesPerNode: 0,
      },
      'bench',
      { clock: systemClock, log: silentLog, metrics: noMetrics, signal: stopping.signal },
    );
    const { controller } = stack;
    const others = new Others(stack, base);
    await controller.createVolume(requestOf('pvc-tree'), callFor(longMs));
    makeTree(pool.at('volumes', 'pvc-tree', 'data'), files);
    const image = { backend: 'loopback', onDelete: 'scrub' };
    const large = requestOf('pvc-image', image, BigInt(imageBytes));
    await controller.createVolume(large, callFor(longMs));
    writeImage(pool.at('volumes', 'pvc-image', 'image'), imageBytes);
    let isWarm = false;
    await others.run(() => (isWarm ? true : ((isWarm = true), false)));
    const end = performance.now() + baselineMs;
    const alone = await others.run(() => performance.now() > end);
    for (const verb of verbs) {
      const row = { measured: `${kind}: ${verb} alone`, value: spreadText(spreadOf(alone[verb])) };
      report(`${kind}.alone.${verb}`, row, spreadOf(alone[verb]));
    }
    for (const [what, volumeId, name] of [
      ['files', 'pvc-tree', `delete of ${files} files`],
      ['scrub', 'pvc-image', `scrub of ${imageBytes / 2 ** 20} MiB`],
    ] as const) {
      const { times, tookMs, stallMs } = await deleteBeside(others, stack, volumeId);
      report(`${kind}.${what}.ms`, { measured: `${kind}: ${name}`, value: milliseconds(tookMs) }, tookMs);
      const stall = { measured: `${kind}: longest stall beside it`, value: milliseconds(stallMs) };
      report(`${kind}.${what}.stallMs`, stall, stallMs);
      compare(`${kind}.${what}`, `${kind}: beside the ${name}`, alone, times);
    }
  } finally {
    stopping.abort(new Error('the measurement is over'));
    await stack?.stop();
    await pool.remove();
    rmSync(base, { recursive: true, force: true });
  }
}

for (const kind of ['ext4', 'xfs'] as const) if (flags.pool.includes(kind)) await measure(kind);
const load = loadavg();
const value = load.map((average) => average.toFixed(1)).join(' ');
report('load', { measured: 'load of the machine while measuring', value }, load);
printTable(rows);
if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(figures, null, 2)}\n`);
if (flags.check === true && excesses.length > 0) {
  for (const excess of excesses) console.error(excess);
  process.exitCode = 1;
}
