import { realpath } from 'node:fs/promises';
import { mountsInOtherNamespaces } from '../host/mount-namespaces.ts';
import { isAtOrBelow, locate, mountsOf, readMounts } from '../host/mountinfo.ts';
import type { VolumePlace } from './backend.ts';

/** Mounts of the volume's directory or of something in it, and mounts inside it; elsewhere only if there is none here. */
export async function usersOfDirectory(place: VolumePlace): Promise<string[]> {
  const path = await realpath(place.path).catch(() => undefined);
  if (path === undefined) return [];
  const mounts = await readMounts();
  const location = locate(mounts, path);
  if (location === undefined) return [];
  const users = mountsOf(mounts, location).map((mount) => `mounted at ${mount.mountPoint}`);
  const inside = mounts.filter((mount) => isAtOrBelow(mount.mountPoint, path));
  users.push(...inside.map((mount) => `${mount.source} is mounted inside it at ${mount.mountPoint}`));
  if (users.length > 0) return users;
  const onDevice = ` ${location.device} `;
  const elsewhere = await mountsInOtherNamespaces((line) => line.includes(onDevice));
  return elsewhere
    .filter(({ mount }) => mountsOf([mount], location).length > 0)
    .map(({ mount, pid }) => `mounted at ${mount.mountPoint} in the mount namespace of process ${pid}`);
}
