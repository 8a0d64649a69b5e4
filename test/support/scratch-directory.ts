import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory } from '../../src/host/directory.ts';

/** A directory below the system's temporary one, open, that goes away with `await using`. */
export class ScratchDirectory implements AsyncDisposable {
  readonly path: string;
  readonly directory: Directory;

  private constructor(path: string, directory: Directory) {
    this.path = path;
    this.directory = directory;
  }

  static async make(): Promise<ScratchDirectory> {
    const path = mkdtempSync(join(tmpdir(), 'loam-test-'));
    return new ScratchDirectory(path, await Directory.open(path));
  }

  /** A path below, as bytes where a part is bytes. */
  at(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.directory.close();
    rmSync(this.path, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Every entry below a directory with type, mode, size and content's checksum: equal texts mean nothing was changed. */
export function fingerprint(path: string): string {
  const script =
    'find . -xdev -printf "%y %m %s %n %p\\n" | sort; find . -xdev -type f -exec sha256sum {} + | sort';
  return execFileSync('sh', ['-c', script], { cwd: path, encoding: 'utf8' });
}
