import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { BtrfsBackend } from '../../src/backends/btrfs/backend.ts';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { DiskBackend } from '../../src/backends/disk/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { attachedDevices, type LoopDevice } from '../../src/host/loop-devices.ts';
import type { PoolConfig } from '../../src/config/config.ts';
import type { CreateVolumeRequest } from '../../src/model/csi-driver.ts';
import { ScratchPool, type PoolKind } from './scratch-pool.ts';
import {
  callFor,
  createRequest,
  mountCapability,
  VolumeLab,
  type LabProcess,
  type StartOptions,
} from './volume-lab.ts';

export const MiB = 1n << 20n;

/** Class parameters of a volume that is a plain folder. */
export const directory = { backend: 'directory', limit: 'advisory' };

/**
 * A volume lab whose pool is a disk of its own, with the real backends and mounts. The accounting thinks that the disk
 * has 100 GiB, unless told.
 */
export class DiskLab implements AsyncDisposable {
  readonly disk: ScratchPool;
  readonly #lab: VolumeLab;

  private constructor(disk: ScratchPool, lab: VolumeLab) {
    this.disk = disk;
    this.#lab = lab;
  }

  static async make(kind: PoolKind, sizeMiB?: number): Promise<DiskLab> {
    const lab = await VolumeLab.make();
    try {
      return new DiskLab(ScratchPool.make(kind, sizeMiB), lab);
    } catch (error) {
      await lab.clear();
      throw error;
    }
  }

  /** A process on what is there, as after a restart. */
  start(options: StartOptions = {}): Promise<LabProcess> {
    const { path } = this.disk;
    return this.#lab.start({
      pools: [this.poolConfig('one', path)],
      backends: [
        new LoopbackBackend({ poolPaths: [path] }),
        new BtrfsBackend({ poolPaths: [path] }),
        new DirectoryBackend({ poolPaths: [path] }),
        new DiskBackend({ poolPaths: [path] }),
      ],
      realMounts: true,
      ...options,
    });
  }

  poolConfig(name: string, path: string): PoolConfig {
    return this.#lab.poolConfig(name, { path });
  }

  /** A path on the disk. */
  at(...parts: readonly string[]): string {
    return this.disk.at(...parts);
  }

  stagingOf(id: string): string {
    return join(this.disk.basePath, `staging-${id}`);
  }

  targetOf(id: string): string {
    return join(this.disk.basePath, `pod-${id}`);
  }

  stage(process: LabProcess, volumeId: string, capability = mountCapability): Promise<void> {
    const stagingTargetPath = this.stagingOf(volumeId);
    return process.node.stage({ volumeId, stagingTargetPath, capability, volumeContext: {} }, callFor());
  }

  publish(process: LabProcess, volumeId: string, capability = mountCapability): Promise<void> {
    return process.node.publish(
      {
        volumeId,
        stagingTargetPath: this.stagingOf(volumeId),
        targetPath: this.targetOf(volumeId),
        capability,
        volumeContext: {},
        readonly: false,
      },
      callFor(),
    );
  }

  unpublish(process: LabProcess, volumeId: string): Promise<void> {
    return process.node.unpublish({ volumeId, targetPath: this.targetOf(volumeId) }, callFor());
  }

  unstage(process: LabProcess, volumeId: string): Promise<void> {
    return process.node.unstage({ volumeId, stagingTargetPath: this.stagingOf(volumeId) }, callFor());
  }

  /** Loop devices of a volume's image, wherever in the pool it lies. */
  devices(volumeId: string): readonly LoopDevice[] {
    return attachedDevices().filter(({ backingFile }) => backingFile.includes(`/${volumeId}/image`));
  }

  /** Neither data, nor links, nor promised space, nor devices. */
  expectEmpty(process: LabProcess): void {
    for (const folder of ['volumes', 'by-claim', 'trash']) expect(readdirSync(this.at(folder))).toEqual([]);
    expect(process.pools.open()[0]?.promisedBytes()).toBe(0n);
    expect(attachedDevices().filter(({ backingFile }) => backingFile.startsWith(this.disk.path))).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.clear();
    try {
      await expect.poll(() => this.disk.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
    } finally {
      await this.disk.remove();
    }
  }
}

/** A create of exactly this size. */
export function volume(
  name: string,
  sizeBytes: bigint,
  changes: Partial<CreateVolumeRequest> = {},
): CreateVolumeRequest {
  return createRequest(name, { capacityRange: { requiredBytes: sizeBytes, limitBytes: 0n }, ...changes });
}
