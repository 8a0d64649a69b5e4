import { formatBytes } from '../model/quantity.ts';
import type { VolumeReport, VolumeRow } from '../operator/report.ts';
import { operatorAt, socketHelp, socketOptions } from './find-socket.ts';
import { renderTable } from './render-table.ts';
import { noArguments, outputOf, runCommand, terminal, type Terminal } from './run-command.ts';

const usage = `loam volumes [--output json]

Lists what is on this node's disks: each volume with the claim and the PersistentVolume that it stands for and where it
is in use. Run it where loam node runs: kubectl exec in the node's pod, or kubectl loam volumes for all nodes.

  --output FORM    table (default) or json
${socketHelp}`;

const options = { ...socketOptions, output: { type: 'string' } } as const;

/** `loam volumes` */
export function volumes(argv: readonly string[], to: Terminal = terminal): Promise<number> {
  return runCommand({ name: 'volumes', usage, options }, argv, to, async ({ values, positionals }) => {
    noArguments(positionals);
    const output = outputOf(values.output);
    const report = await operatorAt(values).volumes();
    to.out(output === 'json' ? JSON.stringify(report, undefined, 2) : renderVolumes(report));
    return 0;
  });
}

/** The table, then what else there is to say: volumes that are not as they should be, pools that are not seen. */
export function renderVolumes({ node, volumes: rows, warnings }: VolumeReport): string {
  const head = ['VOLUME', 'POOL', 'BACKEND', 'SIZE', 'CLAIM', 'PERSISTENTVOLUME', 'STATE', 'IN USE BY'];
  const table = rows.length === 0 ? [] : [renderTable(head, rows.map(cellsOf)), ''];
  const remarks = rows.flatMap(({ volumeId, remark }) => (remark === '' ? [] : `${volumeId}: ${remark}`));
  const totalBytes = rows.reduce((sum, { sizeBytes }) => sum + BigInt(sizeBytes), 0n);
  const count = rows.length === 1 ? '1 volume' : `${rows.length} volumes`;
  const used = rows.filter(({ usedBy }) => usedBy.length > 0).length;
  return [
    ...table,
    ...warnings.map((warning) => `warning: ${warning}`),
    ...remarks,
    rows.length === 0
      ? `no volumes on node ${node}`
      : `${count} on node ${node}, ${formatBytes(totalBytes)} promised, ${used} in use`,
  ].join('\n');
}

function cellsOf(row: VolumeRow): readonly string[] {
  return [
    row.volumeId,
    row.pool,
    row.accessType === 'block' ? `${row.backend} (block)` : row.backend,
    formatBytes(BigInt(row.sizeBytes)),
    row.claim,
    row.persistentVolume,
    row.state === 'ready' ? row.phase : row.state,
    usersOf(row.usedBy),
  ];
}

const podPath = /\/pods\/([0-9a-f-]{36})\//;

/** Pods by their uid, once each; a volume that is staged and in no pod is `staged`. */
function usersOf(paths: readonly string[]): string {
  const pods = new Set(paths.flatMap((path) => podPath.exec(path)?.[1] ?? []));
  if (pods.size > 0) return [...pods].map((uid) => `pod ${uid}`).join(', ');
  return paths.length === 0 ? '' : 'staged';
}
