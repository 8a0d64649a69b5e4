import { execFileSync } from 'node:child_process';
import { closeSync, fsyncSync, mkdirSync, openSync, statfsSync, writeSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { statFileSystem } from '../../src/host/statfs.ts';
import type { ContentSource } from '../../src/model/volume.ts';
import { ScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import {
  callFor,
  createRequest,
  mountCapability,
  VolumeLab,
  type LabProcess,
} from '../support/volume-lab.ts';
import { eventually } from '../support/eventually.ts';

const pages = 4096;

export interface BenchVolume {
  readonly id: string;
  /** the volume's file system, staged */
  readonly path: string;
  /** its directory in the pool */
  readonly placePath: string;
}

/** A pool on a file system of its own, with the storage rooms of one process on it: what the CSI services call, without the wire. */
export class DataLab {
  readonly pool: ScratchPool;
  readonly #lab: VolumeLab;
  readonly #process: LabProcess;
  readonly #staged = new Map<string, string>();
  #count = 0;

  private constructor(pool: ScratchPool, lab: VolumeLab, process: LabProcess) {
    this.pool = pool;
    this.#lab = lab;
    this.#process = process;
  }

  static async start(kind: PoolKind, sizeMiB: number): Promise<DataLab> {
    const pool = ScratchPool.make(kind, sizeMiB);
    try {
      const lab = await VolumeLab.make();
      const process = await lab.start({
        pools: [lab.poolConfig('bench', { path: pool.path, overcommitRatio: 100 })],
        backends: [new DirectoryBackend(), new LoopbackBackend({ poolPaths: [pool.path] })],
        statFileSystem,
        realMounts: true,
      });
      return new DataLab(pool, lab, process);
    } catch (error) {
      await pool.remove();
      throw error;
    }
  }

  /** Any volume that `parameters` describe, staged where it is to be written to. */
  async create(
    parameters: Readonly<Record<string, string>>,
    options: { readonly sizeBytes: bigint; readonly source?: ContentSource; readonly stage?: boolean },
  ): Promise<BenchVolume> {
    const { sizeBytes, source, stage = true } = options;
    this.#count += 1;
    const request = createRequest(`pvc-bench-${this.#count}`, {
      capacityRange: { requiredBytes: sizeBytes, limitBytes: 0n },
      parameters,
      ...(source === undefined ? {} : { contentSource: source }),
    });
    const { volumeId: id } = await this.#process.service.createVolume(request, callFor(60_000));
    const volume = {
      id,
      path: this.#lab.kubeletPath('staging', id, 'globalmount'),
      placePath: join(this.pool.path, 'volumes', id),
    };
    if (stage) await this.stage(volume);
    return volume;
  }

  async stage({ id, path }: BenchVolume): Promise<void> {
    mkdirSync(path, { recursive: true });
    const request = { volumeId: id, stagingTargetPath: path, capability: mountCapability, volumeContext: {} };
    await this.#process.node.stage(request, callFor(60_000));
    this.#staged.set(id, path);
  }

  async unstage({ id, path }: BenchVolume): Promise<void> {
    await this.#process.node.unstage({ volumeId: id, stagingTargetPath: path }, callFor(60_000));
    this.#staged.delete(id);
  }

  /** @returns whether the mounted file system has the size already */
  async grow({ id }: BenchVolume, sizeBytes: bigint): Promise<boolean> {
    const capacityRange = { requiredBytes: sizeBytes, limitBytes: 0n };
    const request = { volumeId: id, capacityRange, capability: mountCapability };
    const grown = await this.#process.service.expandVolume(request, callFor(60_000));
    return !grown.nodeExpansionRequired;
  }

  async snapshot({ id }: BenchVolume): Promise<string> {
    this.#count += 1;
    const request = { name: `snapshot-bench-${this.#count}`, sourceVolumeId: id, parameters: {} };
    const { snapshotId, isReady } = await this.#process.service.createSnapshot(request, callFor(60_000));
    if (!isReady) throw new Error(`snapshot ${snapshotId} is still being copied`);
    return snapshotId;
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.#process.service.deleteSnapshot(id, callFor(60_000));
  }

  async delete(volume: BenchVolume): Promise<void> {
    if (this.#staged.has(volume.id)) await this.unstage(volume);
    await eventually(
      `volume ${volume.id} deleted`,
      async () => {
        await this.#process.service.deleteVolume({ volumeId: volume.id }, callFor(60_000));
        return true;
      },
      30_000,
    );
  }

  async stop(): Promise<void> {
    for (const [id, path] of this.#staged) await this.unstage({ id, path, placePath: '' });
    await this.#lab.clear();
    await this.pool.remove();
  }
}

/** Writes so much that no file system can squeeze, in many files with holes between them. */
export function writeData(folder: string, totalBytes: number): void {
  const block = Buffer.alloc(8 << 20);
  for (let written = 0; written < totalBytes; written += block.length) {
    randomFillSync(block, 0, pages);
    block.copyWithin(block.length / 2, 0, pages);
    for (let at = pages; at < block.length; at += pages) block.writeUInt32LE(written / pages + at, at);
    const file = openSync(join(folder, `data-${written}`), 'w');
    writeSync(file, block);
    fsyncSync(file);
    closeSync(file);
  }
}

export function shownBytes(path: string): number {
  const { blocks, bsize } = statfsSync(path);
  return blocks * bsize;
}

export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
