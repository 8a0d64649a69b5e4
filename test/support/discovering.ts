import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Pace } from '../../src/host/pace.ts';
import type { AdoptedVolume, DiscoveredEntry } from '../../src/model/volume-ledger.ts';
import { DiskLab, MiB } from './disk-lab.ts';
import { FoundDisk } from './found-disk.ts';
import { callFor, type LabProcess, type StartOptions } from './volume-lab.ts';

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

/** A disk in the discovery folder of a pool, and a process at work there. */
export class DiscoveredDisk implements AsyncDisposable {
  readonly lab: DiskLab;
  readonly process: LabProcess;
  readonly disk: FoundDisk;
  /** where it is mounted first */
  readonly path: string;

  private constructor(lab: DiskLab, process: LabProcess, disk: FoundDisk) {
    this.lab = lab;
    this.process = process;
    this.disk = disk;
    this.path = lab.at('discovery', 'sdb');
  }

  /** @param options.text of a file `file` on the disk; unset: there is none */
  static async make({
    fsType,
    text,
    ...options
  }: StartOptions & {
    readonly fsType?: 'ext4' | 'xfs';
    readonly text?: string;
  } = {}): Promise<DiscoveredDisk> {
    const lab = await DiskLab.make('plain');
    let disk: FoundDisk | undefined;
    try {
      disk = makeDisk(lab, 'a', fsType);
      const found = new DiscoveredDisk(lab, await startDiscovering(lab, options), disk);
      disk.mount(found.path);
      if (text !== undefined) writeFileSync(join(found.path, 'file'), text);
      return found;
    } catch (error) {
      disk?.[Symbol.dispose]();
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disk[Symbol.dispose]();
    await this.lab[Symbol.asyncDispose]();
  }
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

/** Lets something run until its process has died or is stuck; it does not end before that. */
export async function cutShort(act: Promise<unknown>, end: Promise<void>): Promise<void> {
  act.catch(() => {});
  await end;
}

/** A removal that gets so far and no further, until its process is stopped. */
export function stuckAfter(files: number): { readonly pace: Pace; readonly stuck: Promise<void> } {
  let left = files;
  const { promise: stuck, resolve: tell } = Promise.withResolvers<void>();
  const wait = async (signal: AbortSignal): Promise<void> => {
    left -= 1;
    if (left >= 0) return;
    tell();
    await new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true });
    });
  };
  const pace: Pace = { files: (_count, signal) => wait(signal), bytes: (_count, signal) => wait(signal) };
  return { pace, stuck };
}
