import type { MountedEntry } from '../../host/mounted-disk.ts';

/** Those whose root is the whole disk, and whose uuid says which. */
const fileSystems: readonly string[] = ['ext2', 'ext3', 'ext4', 'xfs'];

/** Pure: why what is mounted cannot be a volume of its own, for people; undefined: it can. */
export function whyNoDisk(found: Pick<MountedEntry, 'mount' | 'uuid'>): string | undefined {
  const { mount, uuid } = found;
  const { fsType, root, source } = mount;
  if (!fileSystems.includes(fsType))
    return `${describeMounted(found)} is no ext4 or xfs; make it a pool of its own, or unmount it`;
  if (root !== '/') return `only the folder ${root} of the disk ${source} is mounted there; mount all of it`;
  if (uuid === undefined)
    return `the uuid of the file system on ${source} cannot be read here; see that its device is in /dev`;
  const isReadonly = mount.options.includes('ro') || mount.superOptions.includes('ro');
  if (isReadonly)
    return `${describeMounted(found)} is read-only; look for disk errors in the kernel log, and mount it writable`;
  return undefined;
}

export function describeMounted({ mount, uuid }: Pick<MountedEntry, 'mount' | 'uuid'>): string {
  return uuid === undefined ? `a ${mount.fsType}` : `the ${mount.fsType} ${uuid}`;
}
