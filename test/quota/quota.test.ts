import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packFileTree } from './file-tree.ts';
import { checks } from './guest/checks.ts';
import type { Outcome } from './guest/report.ts';
import { fetchKernel } from './kernel.ts';
import { runMachine, whyNoMachine } from './machine.ts';

const project = join(import.meta.dirname, '../..');
const cachePath = join(process.env['LOAM_CACHE'] ?? join(project, '.cache'), 'quota');
const whyNot = whyNoMachine();

describe.skipIf(whyNot !== '')(`project quota, on a kernel that has it${whyNot}`, () => {
  let outcomes: ReadonlyMap<string, Outcome>;
  let said = '';

  beforeAll(async () => {
    mkdirSync(cachePath, { recursive: true });
    const kernel = fetchKernel(cachePath);
    const archivePath = join(cachePath, 'machine.cpio');
    await packFileTree(kernel, join(import.meta.dirname, 'guest/main.ts'), archivePath);
    ({ outcomes, console: said } = await runMachine(kernel, archivePath, 420_000));
  }, 720_000);

  it.each(Object.keys(checks))('%s', (name) => {
    const outcome = outcomes.get(name);
    // the end of what the machine said is why a check was never reached
    expect(outcome ?? said.slice(-2000)).toMatchObject({ name });
    expect(outcome?.failure).toBeUndefined();
  });
});
