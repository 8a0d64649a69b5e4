import { formatBytes } from '../model/quantity.ts';
import type { VolumeReport, VolumeRow } from '../operator/report.ts';
import { outputOption, printerOf } from './print-report.ts';
import { plain, renderTable } from './render-table.ts';
import { noArguments, terminal, type Terminal } from './run-command.ts';
import { runNodeCommand } from './run-node-command.ts';

const usage = `loam volumes [--output json]

Lists what is on this node's disks: each volume with the claim and the PersistentVolume that it stands for and where it
is in use. Run it where loam node runs: kubectl exec in the node's pod, or kubectl loam volumes for all nodes.

  --output FORM    table (default) or json`;

/** `loam volumes` */
export function volumes(argv: readonly string[], to: Terminal = terminal): Promise<number> {
  const command = { name: 'volumes', usage, options: outputOption };
  return runNodeCommand(command, argv, to, async ({ values, positionals }, node) => {
    noArguments(positionals);
    const print = printerOf(values, to);
    print(await node.volumes(), renderVolumes);
    return 0;
  });
}

/** The table, then what else there is to say: volumes that are not as they should be, pools that are not seen. */
export function renderVolumes({ node, volumes: rows, warnings }: VolumeReport): string {
  const head = ['VOLUME', 'POOL', 'BACKEND', 'SIZE', 'CLAIM', 'PERSISTENTVOLUME', 'STATE', 'IN USE BY'];
  const table = rows.length === 0 ? [] : [renderTable(head, rows.map(cellsOf)), ''];
  const remarks = rows.flatMap(({ volumeId, remark }) =>
    remark === '' ? [] : plain(`${volumeId}: ${remark}`),
  );
  const totalBytes = rows.reduce((sum, { sizeBytes }) => sum + BigInt(sizeBytes), 0n);
  const count = rows.length === 1 ? '1 volume' : `${rows.length} volumes`;
  const used = rows.filter(({ usedBy }) => usedBy.length > 0).length;
  return [
    ...table,
    ...warnings.map((warning) => plain(`warning: ${warning}`)),
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
