import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clearLeftovers, leftoversBelow } from './host-leftovers.ts';

export type PoolKind = 'plain' | 'ext4' | 'xfs' | 'btrfs';

/** A directory for pools, stagings and targets, on the machine's own file system or on a loop-mounted one. */
export interface ScratchPool {
  /** all that the suite makes lies below */
  readonly basePath: string;
  readonly poolPath: string;
  /** what tests have left mounted or attached */
  leftovers(): string[];
  /** Removes the volumes of a finished test. */
  empty(): void;
  /** Undoes everything. */
  remove(): void;
}

/** What keeps these suites from running, for their names; undefined: nothing. */
export function whyNoMounts(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'needs root';
}

export function makeScratchPool(kind: PoolKind, sizeBytes = 2 * 1024 ** 3): ScratchPool {
  const basePath = realpathSync(mkdtempSync(join(tmpdir(), `loam-${kind}-`)));
  const poolPath = join(basePath, 'pool');
  const diskPath = join(basePath, 'disk');
  mkdirSync(poolPath, { mode: 0o700 });
  if (kind !== 'plain') {
    writeFileSync(diskPath, '');
    truncateSync(diskPath, sizeBytes);
    execFileSync(`mkfs.${kind}`, ['-q', diskPath], { stdio: 'ignore' });
    execFileSync('mount', ['-o', 'loop', diskPath, poolPath]);
  }
  const ofPool = kind === 'plain' ? [] : [`mount ${poolPath}`];
  return {
    basePath,
    poolPath,
    leftovers: () => {
      const mounts = leftoversBelow(basePath).filter(
        (text) => text.startsWith('mount ') && !ofPool.includes(text),
      );
      return [...mounts, ...leftoversBelow(poolPath).filter((text) => text.startsWith('loop device '))];
    },
    empty: () => {
      rmSync(join(poolPath, 'volumes'), { recursive: true, force: true });
      rmSync(join(basePath, 'staging'), { recursive: true, force: true });
    },
    remove: () => {
      clearLeftovers(`${poolPath}/`);
      clearLeftovers(basePath);
      rmSync(basePath, { recursive: true, force: true });
    },
  };
}
