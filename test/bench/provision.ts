/** `scripts/bench provision`: see its --help. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import type { KubeApi } from '../../src/kube/kube-api.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { ChildProgram } from '../support/child-program.ts';
import { LoamProcess } from '../support/loam-process.ts';
import { RealApiServer } from '../support/real-api-server.ts';
import {
  benchNamespace,
  benchNode,
  createBurst,
  createClaim,
  createClass,
  inParallel,
  VolumeTimes,
} from './claims.ts';
import { type Row, type Spread, printTable, spreadOf, spreadText } from './figures.ts';

const { values: flags } = parseArgs({ options: { json: { type: 'string' }, quick: { type: 'boolean' } } });
const scale = flags.quick === true ? 10 : 1;
const isRoot = process.getuid?.() === 0;
const directoryClass = { backend: 'directory', limit: 'advisory' };

interface BurstFigures {
  readonly latency: Spread;
  readonly createdPerSecond: number;
  readonly deletedPerSecond: number;
}

const folder = mkdtempSync(join(tmpdir(), 'loam-bench-'));
const rows: Row[] = [];
const figures: Record<string, unknown> = { machine: { cpus: cpus().length, model: cpus()[0]?.model } };
const stop = new AbortController();

function report(key: string, row: Row, value: unknown): void {
  rows.push(row);
  figures[key] = value;
  console.error(`${row.measured}: ${row.value}`);
}

async function main(): Promise<void> {
  // no `await using`: Node 22 runs this file as it is, and does not know it yet
  const closers: (() => Promise<void>)[] = [];
  const opened = <T>(thing: T, close: (thing: T) => Promise<void>): T => {
    closers.unshift(() => close(thing));
    return thing;
  };
  try {
    const server = opened(await RealApiServer.start(), (started) => started.stop());
    const options = { metrics: noMetrics, userAgent: 'loam-bench' };
    const api = opened(createKubeApi(loadKubeAccess(server.kubeconfigPath), options), (client) =>
      client.close(),
    );
    await server.startControllerManager();
    // its process publishes capacity objects only for a Node that there is: part of what is measured
    await api.create('Node', { metadata: { name: benchNode } }, stop.signal);
    const node = {
      folder: join(folder, 'node'),
      pools: [`bench=${join(folder, 'pool')},reserved=0%,overcommit=100`],
      kubeconfigPath: server.kubeconfigPath,
      bundled: true,
    };
    const loam = opened(await LoamProcess.start(node), (started) => started.kill());
    const floor = opened(await startFloor(server.kubeconfigPath), (program) => program.kill());
    await measure(api, server, loam, floor);
  } finally {
    stop.abort();
    for (const close of closers) await close();
  }
}

async function measure(
  api: KubeApi,
  server: RealApiServer,
  loam: LoamProcess,
  floor: ChildProgram,
): Promise<void> {
  const { signal } = stop;
  await createClass(api, { name: 'directory', provisioner: 'loam.dev', parameters: directoryClass }, signal);
  await createClass(
    api,
    { name: 'loopback', provisioner: 'loam.dev', parameters: { backend: 'loopback' } },
    signal,
  );
  await createClass(api, { name: 'floor', provisioner: 'floor.loam.dev', parameters: {} }, signal);
  const times = new VolumeTimes();
  await times.start(api, signal);

  const idle = await loam.memoryMiB();
  await sequential(api, times, 'warm-up', 20);
  const directory = await sequential(api, times, 'directory', 100);
  report(
    'sequential.directory',
    {
      measured: 'one at a time, directory: PV exists after',
      value: spreadText(directory),
      target: 'p50 ≤ 8 ms',
    },
    directory,
  );
  if (isRoot) {
    await sequential(api, times, 'loopback', 10);
    const loopback = await sequential(api, times, 'loopback', 100);
    report(
      'sequential.loopback',
      {
        measured: 'one at a time, thin loopback ext4: PV exists after',
        value: spreadText(loopback),
        target: 'p50 ≤ 30 ms',
      },
      loopback,
    );
  }
  const floorSequential = await sequential(api, times, 'floor', 100);
  report(
    'sequential.floor',
    { measured: 'one at a time, floor (no storage at all)', value: spreadText(floorSequential) },
    floorSequential,
  );

  const limited = await burst(api, times, 'directory', 150, { deletes: false });
  report(
    'burst150.directory',
    {
      measured: 'burst of 150, kube-controller-manager at its default',
      value: spreadText(limited.latency),
      target: 'p50 ≤ 0.5 s',
    },
    limited,
  );

  await server.killControllerManager();
  await server.startControllerManager({ apiQps: 2000 });
  await burst(api, times, 'directory', 50, { deletes: true });
  for (const [name, key] of [
    ['directory', 'burst500.directory'],
    ['floor', 'burst500.floor'],
    ...(isRoot ? [['loopback', 'burst500.loopback'] as const] : []),
  ] as const) {
    const figure = await burst(api, times, name, 500, { deletes: true });
    report(
      key,
      {
        measured: `burst of 500, limits lifted, ${name}`,
        value: `${figure.createdPerSecond.toFixed(0)} PVs/s made (${spreadText(figure.latency)}), ${figure.deletedPerSecond.toFixed(0)} PVs/s gone`,
        ...(name === 'directory' ? { target: '≥ 120 PVs/s made; gone ≥ 0.8 of the floor' } : {}),
      },
      figure,
    );
  }
  const busy = await loam.memoryMiB();
  report(
    'memory',
    {
      measured: 'bundled node process, resident / anonymous',
      value: `${idle.resident.toFixed(0)} / ${idle.anonymous.toFixed(0)} MiB idle, ${busy.resident.toFixed(0)} / ${busy.anonymous.toFixed(0)} MiB after the bursts`,
      target: '≤ 100 MiB resident',
    },
    { idle, busy },
  );
  report(
    'load',
    {
      measured: 'load of the machine while measuring',
      value: loadavg()
        .map((load) => load.toFixed(1))
        .join(' '),
    },
    loadavg(),
  );
  if (!floor.isRunning) throw new Error(`the floor program ended:\n${floor.logTail()}`);
}

/** Claims one after the other: the next is created once the last one has its PV. Left in the cluster, as in real life. */
async function sequential(api: KubeApi, times: VolumeTimes, kind: string, count: number): Promise<Spread> {
  const className = kind === 'warm-up' ? 'directory' : kind;
  const latencies: number[] = [];
  for (let index = 0; index < Math.ceil(count / scale); index += 1) {
    const claim = await createClaim(api, `${kind}-${index}-${Date.now()}`, className, stop.signal);
    const createdMs = performance.now();
    const uid = claim.metadata.uid ?? '';
    await times.until('existsMs', [uid], 30_000);
    latencies.push((times.existsMs.get(uid) ?? Number.NaN) - createdMs);
  }
  return spreadOf(latencies);
}

async function burst(
  api: KubeApi,
  times: VolumeTimes,
  className: string,
  count: number,
  { deletes }: { readonly deletes: boolean },
): Promise<BurstFigures> {
  const names = Array.from(
    { length: Math.ceil(count / scale) },
    (_, index) => `${className}-${Date.now()}-${index}`,
  );
  const startMs = performance.now();
  const claims = await createBurst(api, names, className, stop.signal);
  const uids = claims.map(({ uid }) => uid);
  await times.until('existsMs', uids, 120_000);
  const lastMs = Math.max(...uids.map((uid) => times.existsMs.get(uid) ?? Number.NaN));
  const latency = spreadOf(
    claims.map(({ uid, createdMs }) => (times.existsMs.get(uid) ?? Number.NaN) - createdMs),
  );
  const createdPerSecond = (uids.length / (lastMs - startMs)) * 1000;
  if (!deletes) return { latency, createdPerSecond, deletedPerSecond: Number.NaN };

  await allBound(api, names);
  const deleteMs = performance.now();
  await inParallel(names, 16, (name) =>
    api.remove('PersistentVolumeClaim', { namespace: benchNamespace, name }, stop.signal),
  );
  await times.until('goneMs', uids, 240_000);
  const goneMs = Math.max(...uids.map((uid) => times.goneMs.get(uid) ?? Number.NaN));
  return { latency, createdPerSecond, deletedPerSecond: (uids.length / (goneMs - deleteMs)) * 1000 };
}

/** Deletes are measured from Bound claims: an unbound claim's delete is another path. */
async function allBound(api: KubeApi, names: readonly string[]): Promise<void> {
  const wanted = new Set(names);
  const endMs = Date.now() + 180_000;
  while (Date.now() < endMs) {
    const { items } = await api.list('PersistentVolumeClaim', { namespace: benchNamespace }, stop.signal);
    if (items.every(({ metadata, status }) => !wanted.has(metadata.name) || status?.phase === 'Bound'))
      return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`not all of ${names.length} claims are Bound`);
}

async function startFloor(kubeconfigPath: string): Promise<ChildProgram> {
  const program = new ChildProgram(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      join(import.meta.dirname, 'floor.ts'),
      kubeconfigPath,
      'floor.loam.dev',
    ],
    { name: 'floor', logPath: join(folder, 'floor.log') },
  );
  await program.whenReady(() => Promise.resolve(program.logTail().includes('ready')), 20_000);
  return program;
}

try {
  await main();
  printTable(rows);
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(figures, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
