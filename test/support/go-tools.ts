import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const project = join(import.meta.dirname, '../..');
const toolFolders = join(project, 'test/tools');

/** The Go programs that tests run: in which folder of test/tools their go.mod lies, and the package to build. */
const tools: Readonly<Record<string, { readonly folder: string; readonly package: string }>> = {
  'csi-sanity': { folder: 'csi', package: 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity' },
};

/** Why nothing of Go can be used here, for the names of skipped tests; undefined where it can. */
export async function whyNoGo(): Promise<string | undefined> {
  try {
    await run('go', ['version']);
    return undefined;
  } catch {
    return 'Go is not installed';
  }
}

/**
 * Builds a program of test/tools, or finds it built from the same go.mod and go.sum: minutes the first time, nothing later.
 * Kept below `.cache/bin`, or `$LOAM_CACHE/bin`.
 *
 * @returns the path of the executable
 */
export async function buildGoTool(name: string): Promise<string> {
  const tool = tools[name];
  if (tool === undefined)
    throw new TypeError(`no Go tool ${name}; known are ${Object.keys(tools).join(', ')}`);
  const folder = join(toolFolders, tool.folder);
  const bin = join(process.env['LOAM_CACHE'] ?? join(project, '.cache'), 'bin');
  const path = join(bin, `${name}-${digestOf(folder)}`);
  if (existsSync(path)) return path;
  await mkdir(bin, { recursive: true });
  const fresh = `${path}.${process.pid}`;
  try {
    const flags = ['-trimpath', '-buildvcs=false', '-ldflags=-s -w'];
    await run('go', ['build', ...flags, '-o', fresh, tool.package], { cwd: folder, timeout: 900_000 });
    await rename(fresh, path);
  } finally {
    await rm(fresh, { force: true });
  }
  return path;
}

/** The folder of a module that a go.mod of test/tools requires, downloaded and checked against its go.sum. */
export async function goModuleFolder(toolFolder: string, module: string): Promise<string> {
  const cwd = join(toolFolders, toolFolder);
  const lines = readFileSync(join(cwd, 'go.mod'), 'utf8').split('\n');
  const required = lines.map((line) => line.trim().split(' ')).find(([path]) => path === module)?.[1];
  if (required === undefined)
    throw new TypeError(`test/tools/${toolFolder}/go.mod does not require ${module}`);
  const { stdout } = await run('go', ['mod', 'download', '-json', `${module}@${required}`], {
    cwd,
    timeout: 300_000,
  });
  const { Dir } = JSON.parse(stdout) as { readonly Dir: string };
  return Dir;
}

function digestOf(folder: string): string {
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) hash.update(readFileSync(join(folder, file)));
  return hash.digest('hex').slice(0, 12);
}
