import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { BtrfsBackend } from '../../src/backends/btrfs/backend.ts';
import { describeBackend } from './backend-conformance.ts';

for (const limit of ['enforced', 'advisory'] as const) {
  describeBackend({
    title: `btrfs backend, its limits ${limit}`,
    pool: 'btrfs',
    makeBackend: (poolPath) => {
      if (limit === 'enforced') execFileSync('btrfs', ['quota', 'enable', poolPath]);
      // below its mount point, or the probe would take the file system for the pool's own and turn quota on
      return new BtrfsBackend({ poolPaths: [join(poolPath, 'volumes')] });
    },
    spec: { backend: 'btrfs', accessType: 'mount', sizeBytes: 64n << 20n, provisioning: 'thin', limit },
  });
}
