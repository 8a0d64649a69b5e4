import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DirectoryBackend } from '../../../src/backends/directory/backend.ts';
import type { VolumePlace } from '../../../src/backends/backend.ts';
import type { VolumeSpec } from '../../../src/model/volume.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';

export const MiB = 1n << 20n;
export const call = { signal: AbortSignal.timeout(240_000) };
export type DiskKind = 'xfs' | 'ext4';

/** A pool on a disk of its own, as an administrator has to mount it for quotas. */
export class QuotaDisk implements Disposable {
  readonly path: string;
  readonly backend: DirectoryBackend;
  readonly #imagePath: string;

  constructor(kind: DiskKind, options = 'prjquota') {
    this.path = `/tmp/pool-${kind}`;
    this.#imagePath = `${this.path}.img`;
    const features = kind === 'ext4' ? ['-O', 'project,quota', '-E', 'quotatype=prjquota'] : [];
    execFileSync('truncate', ['-s', kind === 'xfs' ? '320M' : '160M', this.#imagePath]);
    execFileSync(`mkfs.${kind}`, ['-q', ...features, this.#imagePath], { stdio: 'ignore' });
    mkdirSync(this.path, { mode: 0o700 });
    this.mount(options);
    for (const name of ['volumes', 'snapshots', 'scratch']) mkdirSync(join(this.path, name));
    this.backend = new DirectoryBackend({ poolPaths: [this.path] });
  }

  mount(options: string): void {
    execFileSync('mount', ['-o', `loop,${options}`, this.#imagePath, this.path]);
  }

  unmount(): void {
    execFileSync('umount', [this.path]);
  }

  place(name: string): VolumePlace {
    const path = join(this.path, 'volumes', name);
    if (!existsSync(path)) mkdirSync(path);
    return { path };
  }

  spec(name: string, change: Partial<VolumeSpec> = {}): VolumeSpec {
    return {
      id: volumeIdOf(name),
      backend: 'directory',
      accessType: 'mount',
      sizeBytes: 20n * MiB,
      provisioning: 'thin',
      limit: 'enforced',
      ...change,
    };
  }

  async volume(name: string, change: Partial<VolumeSpec> = {}): Promise<VolumePlace> {
    await this.backend.create(this.place(name), this.spec(name, change), call);
    return this.place(name);
  }

  /** Removes it as the trash does. */
  async remove(name: string): Promise<void> {
    await this.backend.discard(this.place(name), call.signal);
    rmSync(this.place(name).path, { recursive: true });
  }

  [Symbol.dispose](): void {
    this.unmount();
    rmSync(this.path, { recursive: true });
    rmSync(this.#imagePath);
  }
}

/** Writes as a pod would that is root without the capabilities that containers do not get. @returns the bytes that went in */
export function fill(path: string, megabytes: number, name = 'filled'): bigint {
  const file = join(path, name);
  try {
    asPod(['dd', 'if=/dev/zero', `of=${file}`, 'bs=64k', `count=${megabytes * 16}`, 'conv=fsync']);
  } catch (error) {
    const said = String((error as { readonly stderr?: unknown }).stderr);
    if (!/No space left|quota exceeded/.test(said)) throw error;
  }
  return BigInt(statSync(file).size);
}

export function asPod(command: readonly string[]): string {
  const less = ['--bounding-set=-sys_resource,-sys_admin', '--', ...command];
  return execFileSync('setpriv', less, { encoding: 'utf8', stdio: 'pipe' });
}
