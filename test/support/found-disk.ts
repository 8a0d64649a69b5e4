import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, NotYet } from './eventually.ts';

/** A disk of its own, on an image beside a pool, that people mount in the pool's discovery folder and unmount. */
export class FoundDisk implements Disposable {
  readonly imagePath: string;
  /** where it was mounted last */
  path = '';

  private constructor(imagePath: string) {
    this.imagePath = imagePath;
  }

  /** @param folder for its image; removed by whoever has it */
  static make(folder: string, name: string, fsType: 'ext4' | 'xfs' | 'btrfs'): FoundDisk {
    mkdirSync(folder, { recursive: true });
    const disk = new FoundDisk(join(folder, `${name}.img`));
    execFileSync('truncate', ['-s', fsType === 'ext4' ? '64M' : '320M', disk.imagePath]);
    const blocks = fsType === 'ext4' ? ['-b', '4096'] : [];
    execFileSync(`mkfs.${fsType}`, ['-q', ...blocks, disk.imagePath], { stdio: 'ignore' });
    return disk;
  }

  /** Mounts it on a folder, which is made where it is absent. */
  mount(path: string, ...options: readonly string[]): void {
    mkdirSync(path, { recursive: true });
    execFileSync('mount', ['-o', ['loop', ...options].join(','), this.imagePath, path]);
    this.path = path;
  }

  unmount(...args: readonly string[]): void {
    execFileSync('umount', [...args, this.path]);
    this.path = '';
  }

  /** Beside a driver at work, which opens the disk now and then to look whose it is. */
  async unmountWhenFree(): Promise<void> {
    await eventually(`${this.path} unmounted`, () => {
      try {
        this.unmount();
        return true;
      } catch (error) {
        throw new NotYet(String(error));
      }
    });
  }

  [Symbol.dispose](): void {
    if (this.path !== '') execFileSync('umount', ['--lazy', this.path]);
    this.path = '';
  }
}
