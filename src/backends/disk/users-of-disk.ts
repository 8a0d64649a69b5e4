import { dirname } from 'node:path';
import { mountsInOtherNamespaces } from '../../host/mount-namespaces.ts';
import type { MountedEntry } from '../../host/mounted-disk.ts';
import { isAtOrBelow, readMounts } from '../../host/mountinfo.ts';
import { discoveryName } from '../backend.ts';

/**
 * Mounts of a disk besides the one that it was found by, and mounts inside it; elsewhere only if there is none here. Other namespaces
 * have that one, too, perhaps below another folder: it goes by its name there.
 *
 * @param options.besidesTwins whether other entries of the discovery folder that show it do not count
 */
export async function usersOfDisk(
  { mount }: MountedEntry,
  { entry, besidesTwins = false }: { readonly entry: string; readonly besidesTwins?: boolean },
): Promise<string[]> {
  // a pod has a mount twice at one place where two of its volumes overlap, the one below the other
  const others = (await readMounts()).filter(({ mountPoint }) => mountPoint !== mount.mountPoint);
  const isTwin = (path: string): boolean => besidesTwins && dirname(path) === dirname(mount.mountPoint);
  const again = others.filter(({ device, mountPoint }) => device === mount.device && !isTwin(mountPoint));
  const users = again.map(({ mountPoint }) => `mounted at ${mountPoint}`);
  const inside = others.filter(
    ({ device, mountPoint }) => device !== mount.device && isAtOrBelow(mountPoint, mount.mountPoint),
  );
  users.push(...inside.map(({ source, mountPoint }) => `${source} is mounted inside it at ${mountPoint}`));
  if (users.length > 0) return users;
  const onDevice = ` ${mount.device} `;
  const elsewhere = await mountsInOtherNamespaces((line) => line.includes(onDevice));
  return elsewhere
    .filter(({ mount: { device } }) => device === mount.device)
    .filter(({ mount: { mountPoint } }) => {
      const names = mountPoint.split('/');
      return names.at(-2) !== discoveryName || (names.at(-1) !== entry && !besidesTwins);
    })
    .map(
      ({ mount: { mountPoint }, pid }) => `mounted at ${mountPoint} in the mount namespace of process ${pid}`,
    );
}
