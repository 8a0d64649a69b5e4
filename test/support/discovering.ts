import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Pace } from '../../src/host/pace.ts';
import type { AdoptedVolume, DiscoveredEntry } from '../../src/model/volume-ledger.ts';
import type { Step } from '../../src/volumes/volume-environment.ts';
import { MiB, type DiskLab } from './disk-lab.ts';
import { FoundDisk } from './found-disk.ts';
import { callFor, dead, type LabProcess, type StartOptions } from './volume-lab.ts';

const sizeBytes = 64n * MiB;

export const containing = (text: string): string => expect.stringContaining(text) as string;

/** A process on a pool that makes volumes of what lies in its discovery folder. */
export function startDiscovering(lab: DiskLab, options: StartOptions = {}): Promise<LabProcess> {
  const discover = { className: 'found', sizeBytes };
  return lab.start({ pools: [{ ...lab.poolConfig('one', lab.disk.path), discover }], ...options });
}

export function makeDisk(lab: DiskLab, name: string, fsType: 'ext4' | 'xfs' | 'btrfs' = 'ext4'): FoundDisk {
  return FoundDisk.make(join(lab.disk.basePath, 'disks'), name, fsType);
}

export function adopt(
  { service }: LabProcess,
  path: string,
  parameters: Readonly<Record<string, string>> = {},
): Promise<AdoptedVolume> {
  return service.adoptPath(path, { sizeBytes, parameters }, callFor());
}

export async function entriesOf({ service }: LabProcess): Promise<readonly DiscoveredEntry[]> {
  return (await service.discoveries())[0]?.entries ?? [];
}

export function remove({ service }: LabProcess, volumeId: string): Promise<void> {
  return service.deleteVolume({ volumeId }, callFor());
}

export function volumesIn(lab: DiskLab): string[] {
  return readdirSync(lab.at('volumes'));
}

/** A process that dies after a step. */
export function dyingAfter(when: Step): {
  readonly reached: (step: Step) => Promise<void>;
  readonly isDead: () => boolean;
} {
  let isDead = false;
  return {
    reached: async (step) => {
      if (step !== when) return;
      isDead = true;
      await dead();
    },
    isDead: () => isDead,
  };
}

/** A removal that gets so far and no further, until its process is stopped. */
export function stuckAfter(files: number): { readonly pace: Pace; readonly isStuck: () => boolean } {
  let left = files;
  let isStuck = false;
  const wait = (signal: AbortSignal): Promise<void> => {
    left -= 1;
    if (left >= 0) return Promise.resolve();
    isStuck = true;
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true });
    });
  };
  return {
    pace: { files: (_count, signal) => wait(signal), bytes: (_count, signal) => wait(signal) },
    isStuck: () => isStuck,
  };
}
