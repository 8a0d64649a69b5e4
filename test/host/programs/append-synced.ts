/**
 * Appends numbered lines to a file, each written through to the disk before it is told on stdout. Runs until it is killed.
 * usage: node append-synced.ts <file>
 */
import { fsyncSync, openSync, writeSync } from 'node:fs';

const [path = ''] = process.argv.slice(2);
const file = openSync(path, 'a');
for (let count = 1; ; count += 1) {
  writeSync(file, `${count}\n`);
  fsyncSync(file);
  writeSync(1, `${count}\n`);
}
