import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import type { PoolKind } from '../support/scratch-pool.ts';
import { describeBackend } from './backend-conformance.ts';

const pools: readonly PoolKind[] = ['plain', 'ext4', 'xfs', 'btrfs'];

for (const pool of pools) {
  describeBackend({
    title: `directory backend on ${pool === 'plain' ? 'the temporary directory' : pool}`,
    pool,
    makeBackend: (poolPath) => new DirectoryBackend({ poolPaths: [poolPath] }),
    spec: {
      backend: 'directory',
      accessType: 'mount',
      sizeBytes: 64n << 20n,
      provisioning: 'thin',
      limit: 'advisory',
    },
  });
}
