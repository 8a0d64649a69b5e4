import { onNode } from './real-cluster.ts';

/** A disk of a node: an image with a file system, mounted where a pool can be. Empty when it resolves. */
export async function mountDisk(
  node: string,
  path: string,
  { fsType = 'ext4', size = '400M' }: { readonly fsType?: string; readonly size?: string } = {},
): Promise<void> {
  const image = imageAt(path);
  const make = `mkdir -p ${path} && truncate -s ${size} ${image} && mkfs.${fsType} -q ${image}`;
  const mount = `mount -o loop ${image} ${path} && { rmdir ${path}/lost+found 2>/dev/null || true; }`;
  await onNode(node, 'sh', '-c', `${make} && ${mount}`);
}

/** What is mounted is unmounted first; a disk that was never made is none to take away. */
export async function removeDisk(node: string, path: string): Promise<void> {
  const remove = `rm -f ${imageAt(path)} && rm -rf --one-file-system ${path}`;
  await onNode(node, 'sh', '-c', `umount ${path} 2>/dev/null; ${remove}`);
}

function imageAt(path: string): string {
  return `${path}.img`;
}
