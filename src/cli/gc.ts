import { createInterface } from 'node:readline/promises';
import { formatBytes } from '../model/quantity.ts';
import { isVolumeId } from '../model/volume-id.ts';
import type { OperatorClient } from '../operator/operator-client.ts';
import type { Finding, GcPlan } from '../operator/report.ts';
import { outputOption, printerOf } from './print-report.ts';
import { plain, renderTable } from './render-table.ts';
import { noArguments, terminal, UsageError, type Terminal, type ValuesOf } from './run-command.ts';
import { runNodeCommand } from './run-node-command.ts';

const usage = `loam gc [--dry-run] [--output json]
loam gc --remove VOLUME-ID [--yes]
loam gc --archive ARCHIVE-ID [--yes]
loam gc --forget VOLUME-ID [--yes]

Without --remove, --archive or --forget nothing is changed: the plan is printed, what ends by itself and what waits for a person.
Volumes without a PersistentVolume are never removed unasked. Run it where loam node runs: kubectl exec in the node's
pod, or kubectl loam gc for all nodes.

  --dry-run        print the plan (what happens without it, too)
  --remove ID      delete this volume, as its class's onDelete says, if after one more look no PersistentVolume stands for it
  --archive ID     remove this archived volume for good
  --forget ID      give up a volume, or what waits in the trash, whose mounted disk is away for good, if no PersistentVolume
                   stands for it; no disk is touched, and this one is offered to nobody if it turns up again
  --yes            do not ask
  --output FORM    of the plan: table (default) or json`;

const options = {
  ...outputOption,
  'dry-run': { type: 'boolean' },
  remove: { type: 'string' },
  archive: { type: 'string' },
  forget: { type: 'string' },
  yes: { type: 'boolean' },
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
  return runNodeCommand({ name: 'gc', usage, options }, argv, to, async ({ values, positionals }, node) => {
    noArguments(positionals);
    const print = printerOf(values, to);
    const wish = readWish(values);
    if (wish !== undefined) return doOne(node, wish, values.yes ?? false, to, confirm);
    print(await node.plan(), renderPlan);
    return 0;
  });
}

/** What is to be done with one of them. */
interface Wish {
  readonly verb: 'remove' | 'archive' | 'forget';
  readonly id: string;
}

/** @throws UsageError */
function readWish(values: Values): Wish | undefined {
  const verbs = (['remove', 'archive', 'forget'] as const).filter((verb) => values[verb] !== undefined);
  const [verb, another] = verbs;
  if (verb === undefined) return undefined;
  if (another !== undefined)
    throw new UsageError('--remove, --archive and --forget are for one volume each; give one of them');
  if (values['dry-run'] === true)
    throw new UsageError('--dry-run removes nothing; leave out --remove, --archive and --forget');
  const id = values[verb] ?? '';
  if (verb !== 'archive' && !isVolumeId(id))
    throw new UsageError(
      `--${verb} ${JSON.stringify(id)}: that is no volume id; loam gc --dry-run prints them`,
    );
  return { verb, id };
}

const questions: Readonly<Record<Wish['verb'], (what: string) => string>> = {
  remove: (what) => `Remove ${what} as its class says?`,
  archive: (what) => `Remove ${what} from the archive for good?`,
  forget: (what) => `Forget ${what}, whose disk does not come back?`,
};

async function doOne(
  node: OperatorClient,
  { verb, id }: Wish,
  isSure: boolean,
  to: Terminal,
  confirm: Confirm,
): Promise<number> {
  if (!isSure) {
    const found = (await node.plan()).findings.find((each) => each.id === id);
    const what = found === undefined ? id : `${id} (${plain(describe(found))})`;
    if (!(await confirm(`${questions[verb](what)} [y/N] `))) {
      to.err(`loam gc: nothing was ${verb === 'forget' ? 'forgotten' : 'removed'}; say y, or give --yes`);
      return 1;
    }
  }
  const asked = {
    remove: () => node.remove(id),
    archive: () => node.removeArchived(id),
    forget: () => node.forget(id),
  };
  const { message } = await asked[verb]();
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
  const details = findings.flatMap(({ id, reason, action }) => [
    plain(`${id}: ${reason}`),
    `  ${plain(action)}`,
  ]);
  return [
    ...table,
    ...warnings.map((warning) => plain(`warning: ${warning}`)),
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
