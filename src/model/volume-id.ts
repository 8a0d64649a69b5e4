import { createHash } from 'node:crypto';

const volumeIdPattern = /^[a-z0-9](?:[-a-z0-9.]{0,126}[a-z0-9])?$/;

/** One path component that is safe as a directory name, a log field and a PV's volumeHandle. */
export type VolumeId = string & { readonly __brand: 'VolumeId' };

/** Whether this text can be a volume id; `..` cannot, nor can anything with a slash, a NUL or a capital. */
export function isVolumeId(text: string): text is VolumeId {
  return volumeIdPattern.test(text) && !text.includes('..');
}

/**
 * The id of the volume that a CSI name stands for: the name itself where it is one, else a hash of it.
 * Deterministic, so that a repeated CreateVolume finds the first one's volume.
 */
export function volumeIdOf(name: string): VolumeId {
  if (isVolumeId(name) && !name.startsWith('h-')) return name;
  return `h-${createHash('sha256').update(name).digest('hex').slice(0, 40)}` as VolumeId;
}
