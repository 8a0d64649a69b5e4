import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folderVariable = 'FAULTS_TOTALS';

/** What a campaign did and what came of it. */
export interface Totals {
  readonly crashPoints: number;
  readonly races: number;
  readonly histories: number;
  readonly operations: number;
  readonly kills: number;
  readonly apiFaults: number;
  readonly commandFaults: number;
  readonly diskFaults: number;
  readonly lost: number;
  readonly leaked: number;
  readonly stuck: number;
  /** what ended in an error that is none of the three */
  readonly otherwise: number;
}

export const none: Totals = {
  crashPoints: 0,
  races: 0,
  histories: 0,
  operations: 0,
  kills: 0,
  apiFaults: 0,
  commandFaults: 0,
  diskFaults: 0,
  lost: 0,
  leaked: 0,
  stuck: 0,
  otherwise: 0,
};

/** Adds to what the whole suite says at its end. */
export function count(part: Partial<Totals>): void {
  const folder = process.env[folderVariable];
  if (folder !== undefined) appendFileSync(join(folder, String(process.pid)), `${JSON.stringify(part)}\n`);
}

/** Vitest calls it around the suite: the files run in processes of their own. */
export default function setUp(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'loam-faults-totals-'));
  process.env[folderVariable] = folder;
  return () => {
    const parts = readdirSync(folder).flatMap((name) =>
      readFileSync(join(folder, name), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Partial<Totals>),
    );
    rmSync(folder, { recursive: true, force: true });
    if (parts.length > 0) console.log(`\n${sentenceOf(parts.reduce<Totals>(added, none))}`);
  };
}

function added(sum: Totals, part: Partial<Totals>): Totals {
  const keys = Object.keys(none) as (keyof Totals)[];
  return { ...none, ...Object.fromEntries(keys.map((key) => [key, sum[key] + (part[key] ?? 0)])) };
}

function sentenceOf(all: Totals): string {
  const faults = all.apiFaults + all.commandFaults + all.diskFaults;
  const how = `${all.apiFaults} of the API, ${all.commandFaults} of commands, ${all.diskFaults} of the disk`;
  const bad = all.otherwise === 0 ? '' : `, ${all.otherwise} ended otherwise`;
  return (
    `faults: ${all.crashPoints} crash points, ${all.races} races, ${all.histories} histories with ${all.operations} operations, ${all.kills} kills, ${faults} faults (${how})\n` +
    `faults: ${all.lost} lost, ${all.leaked} leaked, ${all.stuck} stuck${bad}`
  );
}
