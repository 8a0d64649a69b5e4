import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withLockFile } from './lock-file.ts';

export type KubernetesBinary = 'kube-apiserver' | 'kube-controller-manager' | 'kubectl';

const projectPath = join(import.meta.dirname, '../..');
const modulePath = join(projectPath, 'test/tools/kubernetes');
const binPath = join(projectPath, '.cache/bin');

/**
 * Paths of real Kubernetes programs, built from their Go modules when they are missing or go.mod changed: minutes the first time, told
 * on stderr. `LOAM_K8S_BIN` names a folder of ready ones.
 */
export async function kubernetesBinaries<N extends KubernetesBinary>(
  ...names: readonly N[]
): Promise<Record<N, string>> {
  const folderPath = process.env['LOAM_K8S_BIN'] ?? (await built(names));
  const paths = names.map((name) => [name, join(folderPath, name)] as const);
  for (const [name, path] of paths) {
    if (!existsSync(path)) throw new Error(`${name} is not in ${folderPath}`);
  }
  return Object.fromEntries(paths) as Record<N, string>;
}

async function built(names: readonly KubernetesBinary[]): Promise<string> {
  const goMod = await readFile(join(modulePath, 'go.mod'), 'utf8');
  const stamp = createHash('sha256').update(goMod).digest('hex');
  const version = /k8s\.io\/kubernetes (v[0-9.]+)/.exec(goMod)?.[1] ?? 'v0.0.0';
  const isBuilt = async (name: string) =>
    existsSync(join(binPath, name)) &&
    (await readFile(`${join(binPath, name)}.built-from`, 'utf8').catch(() => '')) === stamp;

  await mkdir(binPath, { recursive: true });
  for (const name of names) {
    if (await isBuilt(name)) continue;
    await withLockFile(join(binPath, '.kubernetes.lock'), async () => {
      if (await isBuilt(name)) return;
      const startMs = Date.now();
      process.stderr.write(`building ${name} ${version} (some minutes the first time) …\n`);
      await build(name, version);
      await writeFile(`${join(binPath, name)}.built-from`, stamp);
      process.stderr.write(`built ${name} in ${Math.round((Date.now() - startMs) / 1000)} s\n`);
    });
  }
  return binPath;
}

async function build(name: KubernetesBinary, version: string): Promise<void> {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(version) ?? [];
  const component = 'k8s.io/component-base/version';
  const flags = [`gitVersion=${version}`, `gitMajor=${major}`, `gitMinor=${minor}`].map(
    (set) => `-X ${component}.${set}`,
  );
  const unfinishedPath = join(binPath, `.${name}.${process.pid}`);
  const args = [
    'build',
    '-trimpath',
    '-ldflags',
    `-s -w ${flags.join(' ')}`,
    '-o',
    unfinishedPath,
    `k8s.io/kubernetes/cmd/${name}`,
  ];
  const go = spawn('go', args, { cwd: modulePath, stdio: ['ignore', process.stderr, process.stderr] });
  await new Promise<void>((resolve, reject) => {
    go.once('error', (error) =>
      reject(new Error(`go could not be run: ${error.message}; install Go 1.26 or newer`)),
    );
    go.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`go build of ${name} ended with ${String(code)}`)),
    );
  });
  await rename(unfinishedPath, join(binPath, name));
}
