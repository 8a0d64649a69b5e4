import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const sources = fileURLToPath(new URL('../../src', import.meta.url));

/** What no process of a node does: the controller's rooms are killed where they are tested, and the demonstration is nobody's disk. */
const elsewhere = /^(embedded|cli|placement|lost-nodes|kube\/lease-election)/;
const apiWrite = /\bapi\.(patch|create|remove)\(/;
const changesDisk =
  /\b(rename|mkdir|mkdtemp|unlink|rmdir|rm|symlink|link|chmod|chown|lchown|utimes|lutimes|copyFile|truncate|writeFile|appendFile|run)\(|\.(write|writev|writeFile|appendFile|truncate|sync|datasync|chmod|chown|utimes)\(|\bspawn\(/;

/** Files of a node's sources that ask the API for a change, or change a disk themselves. */
export function changingFiles(): readonly string[] {
  return sourceFiles().filter((file) => {
    const lines = linesOf(file);
    return lines.some((line) => apiWrite.test(line)) || (file.startsWith('host/') && lines.some(isChange));
  });
}

/** Those that no step came by. @param sites of steps */
export function notPassed(files: readonly string[], sites: ReadonlySet<string>): readonly string[] {
  const passed = new Set<string>();
  for (const site of sites) {
    for (const frame of site.split(' < ').slice(1)) passed.add(frame.replace(/:\d+$/, ''));
  }
  return files.filter((file) => !passed.has(file));
}

function isChange(line: string): boolean {
  return changesDisk.test(line) && !/^\s*(\/\/|\*|export (async )?function|import )/.test(line);
}

function sourceFiles(): readonly string[] {
  return readdirSync(sources, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !elsewhere.test(file) && !file.includes('generated/'))
    .toSorted();
}

function linesOf(file: string): readonly string[] {
  return readFileSync(join(sources, file), 'utf8').split('\n');
}
