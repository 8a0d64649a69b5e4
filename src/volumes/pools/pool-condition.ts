import { formatBytes } from '../../model/quantity.ts';
import type { VolumeCondition } from '../../model/csi-driver.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { readDisk } from '../space/measure-space.ts';
import type { Pool } from './pool.ts';

/** Below this share of its size a pool is nearly full; above it there is time. */
const nearlyFullShare = 10n;

/** What of a pool decides whether the writes of its volumes may fail soon. */
export interface FillFacts {
  readonly name: string;
  readonly totalBytes: bigint;
  readonly availableBytes: bigint;
  /** what its images may yet take, those of other pools on the same file system included */
  readonly unwrittenBytes: bigint;
}

/** Pure: what is wrong for everybody who writes there, for people; undefined where nothing is. */
export function whyNearlyFull(facts: FillFacts): string | undefined {
  const { name, totalBytes, availableBytes, unwrittenBytes } = facts;
  if (availableBytes * nearlyFullShare >= totalBytes || availableBytes >= unwrittenBytes) return undefined;
  return (
    `pool ${name} has ${formatBytes(availableBytes)} free and ${formatBytes(unwrittenBytes)} promised to images that ` +
    'they have not taken; free space on its disk, delete volumes or snapshots, or add to it, before writes fail'
  );
}

/** A volume's condition with its pool's beside it. A thick image has all its blocks, unless it shares some. */
export async function withPoolCondition(
  pool: Pool,
  openPools: readonly Pool[],
  spec: VolumeSpec,
  condition: VolumeCondition,
): Promise<VolumeCondition> {
  const isThick = spec.provisioning === 'thick' && pool.records.sharedBytes(spec.id) === 0n;
  const isCovered = isThick || spec.disk !== undefined;
  const why = isCovered ? undefined : whyNearlyFull(await fillOf(pool, openPools));
  if (why === undefined) return condition;
  return { abnormal: true, message: condition.abnormal ? `${condition.message}; ${why}` : why };
}

/** The disk is asked once for all who ask at the same time. */
async function fillOf(pool: Pool, openPools: readonly Pool[]): Promise<FillFacts> {
  const { totalBytes, availableBytes } = await readDisk(pool);
  const onSameDisk = openPools.filter((other) => other.fileSystemId === pool.fileSystemId);
  const unwrittenBytes = onSameDisk.reduce((sum, other) => sum + other.records.unwrittenBytes, 0n);
  return { name: pool.name, totalBytes, availableBytes, unwrittenBytes };
}
