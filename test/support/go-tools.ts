import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withLockFile } from './lock-file.ts';

const run = promisify(execFile);
const project = join(import.meta.dirname, '../..');
const toolFolders = join(project, 'test/tools');

/** The Go programs that tests run: in which folder of test/tools their go.mod lies, and the package to build. */
const tools = {
  'csi-sanity': { folder: 'csi', package: 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity' },
  helm: { folder: 'helm', package: 'helm.sh/helm/v3/cmd/helm' },
  'kube-apiserver': { folder: 'kubernetes', package: 'k8s.io/kubernetes/cmd/kube-apiserver' },
  'kube-controller-manager': {
    folder: 'kubernetes',
    package: 'k8s.io/kubernetes/cmd/kube-controller-manager',
  },
  'kube-scheduler': { folder: 'kubernetes', package: 'k8s.io/kubernetes/cmd/kube-scheduler' },
  kubectl: { folder: 'kubernetes', package: 'k8s.io/kubernetes/cmd/kubectl' },
  kubelet: { folder: 'kubernetes', package: 'k8s.io/kubernetes/cmd/kubelet' },
  'snapshot-controller': {
    folder: 'snapshotter',
    package: 'github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller',
  },
} as const;

export type GoTool = keyof typeof tools;
export const goTools = Object.keys(tools) as readonly GoTool[];

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
 * Builds a program of test/tools, or finds it built from the same go.mod and go.sum: minutes the first time, told on
 * stderr; nothing later. Kept below `.cache/bin`, or `$LOAM_CACHE/bin`; `LOAM_GO_BIN` names a folder of ready ones.
 *
 * @returns the path of the executable
 */
export async function buildGoTool(name: GoTool): Promise<string> {
  await buildGoTools([name]);
  return pathOf(name);
}

/** As `buildGoTool`, for several: those of one go.mod in one build, where one is linked while another is still compiled. @returns their paths */
export async function buildGoTools(names: readonly GoTool[]): Promise<readonly string[]> {
  const missing = (): readonly GoTool[] => names.filter((name) => !existsSync(pathOf(name)));
  if (missing().length > 0) {
    await mkdir(bin, { recursive: true });
    // one at a time, also over processes: each takes every core and gigabytes
    await withLockFile(join(bin, '.go.lock'), async () => {
      const wanted = missing();
      for (const folder of new Set(wanted.map((name) => tools[name].folder)))
        await build(
          folder,
          wanted.filter((name) => tools[name].folder === folder),
        );
    });
  }
  return names.map(pathOf);
}

const bin = join(process.env['LOAM_CACHE'] ?? join(project, '.cache'), 'bin');

function pathOf(name: GoTool): string {
  const ready = join(process.env['LOAM_GO_BIN'] ?? '/nonexistent', name);
  return existsSync(ready) ? ready : join(bin, `${name}-${digestOf(join(toolFolders, tools[name].folder))}`);
}

async function build(folder: string, names: readonly GoTool[]): Promise<void> {
  const startMs = Date.now();
  process.stderr.write(`building ${names.join(', ')} (minutes the first time)…\n`);
  const cwd = join(toolFolders, folder);
  const fresh = await mkdtemp(join(bin, `.${folder}-`));
  const flags = ['-trimpath', '-buildvcs=false', `-ldflags=-s -w ${versionFlags(cwd)}`];
  const packages = names.map((name) => tools[name].package);
  try {
    const go = spawn('go', ['build', ...flags, '-o', `${fresh}/`, ...packages], {
      cwd,
      stdio: ['ignore', process.stderr, process.stderr],
    });
    await new Promise<void>((resolve, reject) => {
      go.once('error', reject);
      go.once('exit', (code) =>
        code === 0
          ? resolve()
          : reject(new Error(`go build of ${names.join(', ')} ended with ${String(code)}`)),
      );
    });
    // go calls a program as the last part of its package, which is the name here as well
    for (const name of names) await rename(join(fresh, name), pathOf(name));
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  process.stderr.write(`built ${names.join(', ')} in ${Math.round((Date.now() - startMs) / 1000)} s\n`);
}

/** Kubernetes' programs do not know their version unless they are told. */
function versionFlags(folder: string): string {
  const goMod = readFileSync(join(folder, 'go.mod'), 'utf8');
  const [version, major, minor] = /k8s\.io\/kubernetes (v(\d+)\.(\d+)\S*)/.exec(goMod)?.slice(1) ?? [];
  if (version === undefined) return '';
  const set = (key: string, value = '') => `-X k8s.io/component-base/version.${key}=${value}`;
  return [set('gitVersion', version), set('gitMajor', major), set('gitMinor', minor)].join(' ');
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
