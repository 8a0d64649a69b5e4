import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export interface Kernel {
  readonly imagePath: string;
  /** the folder `kernel` of its modules */
  readonly modulesPath: string;
}

const metapackage = 'linux-image-cloud-amd64';

/**
 * Debian's kernel for virtual machines, which has the quotas that a test machine's own may lack: downloaded once by apt and unpacked
 * into the cache, never installed.
 *
 * @throws where apt cannot bring it
 */
export function fetchKernel(cachePath: string): Kernel {
  const folder = join(cachePath, 'kernel');
  if (!existsSync(folder)) {
    const unpacked = `${folder}.new`;
    rmSync(unpacked, { recursive: true, force: true });
    mkdirSync(unpacked, { recursive: true });
    const apt = (...args: string[]) =>
      execFileSync('apt-get', args, { cwd: unpacked, stdio: 'pipe', timeout: 240_000 });
    if (packageName() === undefined) apt('update', '-q');
    const name = packageName();
    if (name === undefined) throw new Error(`apt knows no package ${metapackage}`);
    apt('download', '-q', name);
    const [archive] = readdirSync(unpacked).filter((file) => file.endsWith('.deb'));
    execFileSync('dpkg-deb', ['-x', join(unpacked, archive ?? ''), unpacked]);
    renameSync(unpacked, folder);
  }
  const [image] = readdirSync(join(folder, 'boot')).filter((name) => name.startsWith('vmlinuz-'));
  const [version] = readdirSync(join(folder, 'lib/modules'));
  if (image === undefined || version === undefined) throw new Error(`${folder} holds no kernel; remove it`);
  return {
    imagePath: join(folder, 'boot', image),
    modulesPath: join(folder, 'lib/modules', version, 'kernel'),
  };
}

function packageName(): string | undefined {
  const found = execFileSync('apt-cache', ['depends', metapackage], { encoding: 'utf8' });
  return /Depends: (linux-image-\S+)/.exec(found)?.[1];
}
