/** `scripts/bench data`: see its --help. */
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { measureCopies } from './data-copies.ts';
import { measureFio } from './data-fio.ts';
import { measureGrowth } from './data-growth.ts';
import { printTable, type Row } from './figures.ts';
import type { Report } from './report.ts';

const { values: flags } = parseArgs({ options: { json: { type: 'string' }, quick: { type: 'boolean' } } });
const isQuick = flags.quick === true;
if (process.geteuid?.() !== 0) {
  console.error('scripts/bench data mounts file systems: run it as root');
  process.exit(1);
}

const rows: Row[] = [];
const figures: Record<string, unknown> = { machine: { cpus: cpus().length, model: cpus()[0]?.model } };
const report: Report = (key, row, value) => {
  rows.push(row);
  figures[key] = value;
  console.error(`${row.measured}: ${row.value}`);
};

const imageBytes = 10n << 30n;
const dataBytes = (isQuick ? 64 : 2048) * 2 ** 20;
const rounds = isQuick ? 2 : 10;
for (const poolKind of ['xfs', 'btrfs'] as const) {
  await measureCopies({ poolKind, fsType: 'ext4', imageBytes, dataBytes, rounds }, report);
}
await measureCopies(
  { poolKind: 'xfs', fsType: 'xfs', imageBytes, dataBytes: 64 << 20, rounds: Math.ceil(rounds / 3) },
  report,
);
await measureGrowth(isQuick ? 2 : 10, report);
await measureFio(
  isQuick ? { rounds: 1, seconds: 1, fileMiB: 64 } : { rounds: 7, seconds: 1, fileMiB: 512 },
  report,
);
const load = loadavg();
const value = load.map((average) => average.toFixed(1)).join(' ');
report('load', { measured: 'load of the machine while measuring', value }, load);
printTable(rows);
if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(figures, null, 2)}\n`);
