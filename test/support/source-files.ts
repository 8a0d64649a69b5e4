import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const project = join(import.meta.dirname, '../..');

/** The program's sources in a folder of the project and below, for tests that read what it calls. */
export function sourcesBelow(folder: string): { readonly path: string; readonly text: string }[] {
  return readdirSync(join(project, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ path: join(folder, name), text: readFileSync(join(project, folder, name), 'utf8') }));
}
