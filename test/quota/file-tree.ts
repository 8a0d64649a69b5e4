import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import type { Kernel } from './kernel.ts';

/** What the backends call, and what the checks do to them. */
const programs =
  'xfs_quota xfs_io mkfs.xfs xfs_growfs mkfs.ext4 chattr lsattr resize2fs e2fsck tune2fs debugfs filefrag mount umount losetup blkid cp sync dd getfattr setfattr setpriv unshare fallocate flock truncate';
const modules = [
  'drivers/virtio/virtio_ring',
  'drivers/virtio/virtio',
  'drivers/virtio/virtio_pci_legacy_dev',
  'drivers/virtio/virtio_pci_modern_dev',
  'drivers/virtio/virtio_pci',
  'drivers/block/virtio_blk',
  'lib/libcrc32c',
  'fs/xfs/xfs',
  'drivers/block/loop',
  'fs/quota/quota_tree',
  'fs/quota/quota_v2',
];

const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t tmpfs -o size=1g none /tmp
for module in ${modules.map((path) => path.split('/').at(-1)).join(' ')}; do insmod /lib/modules/$module.ko; done
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
node /checks.mjs
poweroff -f
`;

/** Packs everything that the machine has into an archive that its kernel unpacks into memory: programs, modules and the checks. */
export async function packFileTree(kernel: Kernel, entryPath: string, archivePath: string): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'loam-machine-'));
  try {
    for (const folder of ['bin', 'proc', 'sys', 'dev', 'tmp', 'etc', 'run', 'lib/modules']) {
      mkdirSync(join(root, folder), { recursive: true });
    }
    addProgram(root, process.execPath, '/usr/local/bin/node');
    for (const name of programs.split(' ')) addProgram(root, which(name));
    addProgram(root, which('busybox'), '/bin/busybox');
    for (const path of modules) {
      const name = `${path.split('/').at(-1)}.ko`;
      copyFileSync(join(kernel.modulesPath, `${path}.ko`), join(root, 'lib/modules', name));
    }
    writeFileSync(join(root, 'init'), init, { mode: 0o755 });
    await build({
      entryPoints: [entryPath],
      outfile: join(root, 'checks.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node22',
      banner: {
        js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      },
      logLevel: 'error',
    });
    execFileSync('sh', ['-ec', 'find . | busybox cpio -o -H newc > "$1"', 'sh', archivePath], {
      cwd: root,
      stdio: 'ignore',
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function which(name: string): string {
  return execFileSync('which', [name], { encoding: 'utf8' }).trim();
}

/** A program with the libraries that it is linked to, each where the loader looks for it. */
function addProgram(root: string, path: string, target = path): void {
  add(root, realpathSync(path), target);
  for (const library of librariesOf(path)) add(root, realpathSync(library), library);
}

function librariesOf(path: string): string[] {
  try {
    const listed = execFileSync('ldd', [realpathSync(path)], { encoding: 'utf8', stdio: 'pipe' });
    return [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, library = '']) => library);
  } catch {
    // linked statically
    return [];
  }
}

function add(root: string, path: string, target: string): void {
  const place = join(root, target);
  if (existsSync(place)) return;
  mkdirSync(dirname(place), { recursive: true });
  copyFileSync(path, place);
}
