import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import type { FsType, VolumeSpec } from '../../src/model/volume.ts';
import type { PoolKind } from '../support/scratch-pool.ts';
import { describeBackend } from './backend-conformance.ts';

const MiB = 1n << 20n;
const sizes: Record<FsType, bigint> = { ext4: 64n * MiB, xfs: 300n * MiB, btrfs: 128n * MiB };

const describeLoopback = (
  pool: PoolKind,
  kind: FsType | 'block',
  provisioning: VolumeSpec['provisioning'],
): void => {
  const shape =
    kind === 'block'
      ? { accessType: 'block' as const, sizeBytes: 32n * MiB }
      : { accessType: 'mount' as const, fsType: kind, sizeBytes: sizes[kind] };
  describeBackend({
    title: `loopback backend, ${provisioning} ${kind} on ${pool === 'plain' ? 'the temporary directory' : pool}`,
    pool,
    makeBackend: (poolPath) => new LoopbackBackend({ poolPaths: [poolPath] }),
    spec: { backend: 'loopback', provisioning, limit: 'enforced', ...shape },
  });
};

for (const kind of ['ext4', 'xfs', 'btrfs', 'block'] as const) {
  describeLoopback('plain', kind, 'thin');
  describeLoopback('plain', kind, 'thick');
}
for (const pool of ['xfs', 'btrfs'] as const) {
  describeLoopback(pool, 'ext4', 'thin');
  describeLoopback(pool, 'ext4', 'thick');
  describeLoopback(pool, 'block', 'thin');
}
