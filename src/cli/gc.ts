import { createInterface } from 'node:readline/promises';
import { formatBytes } from '../model/quantity.ts';
import { isVolumeId } from '../model/volume-id.ts';
import type { OperatorClient } from '../operator/operator-client.ts';
import type { Finding, GcPlan } from '../operator/report.ts';
import { operatorAt, socketHelp, socketOptions } from './find-socket.ts';
import { renderTable } from './render-table.ts';
import {
  noArguments,
  outputOf,
  runCommand,
  terminal,
  UsageError,
  type Terminal,
  type ValuesOf,
} from './run-command.ts';

const usage = `loam gc [--dry-run] [--output json]
loam gc --remove VOLUME-ID [--yes]
loam gc --archive ARCHIVE-ID [--yes]

Without --remove or --archive nothing is changed: the plan is printed, what ends by itself and what waits for a person.
Volumes without a PersistentVolume are never removed unasked. Run it where loam node runs: kubectl exec in the node's
pod, or kubectl loam gc for all nodes.

  --dry-run        print the plan (what happens without it, too)
  --remove ID      delete this volume, as its class's onDelete says, if after one more look no PersistentVolume stands for it
  --archive ID     remove this archived volume for good
  --yes            do not ask
  --output FORM    of the plan: table (default) or json
${socketHelp}`;

const options = {
  ...socketOptions,
  'dry-run': { type: 'boolean' },
  remove: { type: 'string' },
  archive: { type: 'string' },
  yes: { type: 'boolean' },
  output: { type: 'string' },
} as const;

type Values = ValuesOf<typeof options>;

/** Asks on a terminal; false where there is none to ask on. */
export type Confirm = (question: string) => Promise<boolean>;

/** `loam gc` */
export function gc(
  argv: readonly string[],
  to: Terminal = terminal,
  confirm: Confirm = askOnTerminal,
): Promise<number> {
  return runCommand({ name: 'gc', usage, options }, argv, to, async ({ values, positionals }) => {
    noArguments(positionals);
    const output = outputOf(values.output);
    const node = operatorAt(values);
    if (values.remove !== undefined || values.archive !== undefined)
      return removeOne(node, values, to, confirm);
    const plan = await node.plan();
    to.out(output === 'json' ? JSON.stringify(plan, undefined, 2) : renderPlan(plan));
    return 0;
  });
}

async function removeOne(
  node: OperatorClient,
  { remove, archive, yes = false, 'dry-run': isRehearsal = false }: Values,
  to: Terminal,
  confirm: Confirm,
): Promise<number> {
  if (remove !== undefined && archive !== undefined)
    throw new UsageError('--remove and --archive are for one volume each; give one of them');
  if (isRehearsal) throw new UsageError('--dry-run removes nothing; leave out --remove and --archive');
  const id = remove ?? archive ?? '';
  if (remove !== undefined && !isVolumeId(remove))
    throw new UsageError(
      `--remove ${JSON.stringify(remove)}: that is no volume id; loam gc --dry-run prints them`,
    );
  if (!yes) {
    const found = (await node.plan()).findings.find((each) => each.id === id);
    const what = found === undefined ? id : `${id} (${describe(found)})`;
    const where = remove === undefined ? 'from the archive for good' : 'as its class says';
    if (!(await confirm(`Remove ${what} ${where}? [y/N] `))) {
      to.err(`loam gc: nothing was removed; say y, or give --yes`);
      return 1;
    }
  }
  const { message } = await (remove === undefined ? node.removeArchived(id) : node.remove(id));
  to.out(message);
  return 0;
}

function describe({ sizeBytes, claim, reason }: Finding): string {
  const size = sizeBytes === '' ? [] : [formatBytes(BigInt(sizeBytes))];
  return [...size, ...(claim === '' ? [] : [`of claim ${claim}`]), reason].join(', ');
}

/** The plan: a table, then a line of what and why for each, and at the end how many there are. */
export function renderPlan({ node, findings, warnings }: GcPlan): string {
  const head = ['WHAT', 'VOLUME', 'POOL', 'SIZE', 'CLAIM', 'BY ITSELF'];
  const rows = findings.map((found) => [
    found.kind,
    found.id,
    found.pool,
    found.sizeBytes === '' ? '' : formatBytes(BigInt(found.sizeBytes)),
    found.claim,
    found.byItself ? 'yes' : 'no',
  ]);
  const table = rows.length === 0 ? [] : [renderTable(head, rows), ''];
  const details = findings.flatMap(({ id, reason, action }) => [`${id}: ${reason}`, `  ${action}`]);
  return [
    ...table,
    ...warnings.map((warning) => `warning: ${warning}`),
    ...details,
    `node ${node}: ${summaryOf(findings)}${findings.length === 0 && warnings.length > 0 ? ', as far as can be told' : ''}`,
  ].join('\n');
}

function summaryOf(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'nothing to do';
  const byKind = Map.groupBy(findings, ({ kind }) => kind);
  const counts = [...byKind].map(([kind, { length }]) => `${length} ${kind}`).join(', ');
  const waiting = findings.filter(({ byItself }) => !byItself).length;
  const things = findings.length === 1 ? '1 thing' : `${findings.length} things`;
  return `${things}: ${counts}; ${waiting} for a person to decide`;
}

async function askOnTerminal(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(question)).trim());
  } finally {
    lines.close();
  }
}
