import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Takes one command out of this process's PATH, or has a script run in its place, for as long as what it returns is in use. */
export function hideCommand(command: string, script?: string): Disposable {
  const before = process.env['PATH'] ?? '';
  const folder = mkdtempSync(join(tmpdir(), 'loam-path-'));
  for (const directory of before.split(':')) {
    for (const name of existsSync(directory) ? readdirSync(directory) : []) {
      const link = join(folder, name);
      if (name !== command && !existsSync(link)) linkIfAbsent(join(directory, name), link);
    }
  }
  if (script !== undefined) {
    writeFileSync(join(folder, command), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, command), 0o755);
  }
  process.env['PATH'] = folder;
  return {
    [Symbol.dispose]: () => {
      if (process.env['PATH'] === folder) process.env['PATH'] = before;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function linkIfAbsent(from: string, to: string): void {
  try {
    symlinkSync(from, to);
  } catch {
    // a dangling link of the same name is there
  }
}
