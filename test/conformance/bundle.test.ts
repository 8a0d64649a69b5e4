import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
let folder = '';
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('the bundle can be read by every user of the image, also where it was built under umask 077', () => {
  folder = mkdtempSync(join(tmpdir(), 'loam-bundle-'));
  for (const name of ['package.json', 'src', 'proto', 'scripts', 'node_modules']) {
    symlinkSync(join(root, name), join(folder, name));
  }
  execFileSync('sh', ['-c', 'umask 077 && exec "$0" scripts/build.mjs', process.execPath], { cwd: folder });
  const modeOf = (path: string): string => (statSync(join(folder, path)).mode & 0o777).toString(8);
  expect({ dist: modeOf('dist'), file: modeOf('dist/loam.mjs') }).toEqual({ dist: '755', file: '755' });
});
