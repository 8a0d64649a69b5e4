import { StorageError } from '../../model/errors.ts';
import { podInfoKeys } from '../../model/node-driver.ts';
import type { InlineOwner } from '../records/record.ts';

/** What follows the pod's folder in the path at which kubelet publishes a volume. */
const withinPod = /^volumes\/kubernetes\.io~csi\/[^/]+\/mount$/;

/**
 * The pod of an inline volume, as kubelet tells it.
 *
 * @throws StorageError 'invalid-argument' where it does not
 */
export function ownerOf(volumeContext: Readonly<Record<string, string>>, targetPath: string): InlineOwner {
  const read = (key: string): string => {
    const text = volumeContext[key] ?? '';
    if (text !== '') return text;
    throw new StorageError(
      'invalid-argument',
      `an inline volume comes without ${key}; set podInfoOnMount: true in the CSIDriver`,
    );
  };
  return {
    namespace: read(podInfoKeys.namespace),
    name: read(podInfoKeys.name),
    uid: read(podInfoKeys.uid),
    targetPath,
  };
}

/** For messages. */
export function describeOwner({ namespace, name }: InlineOwner): string {
  return `pod ${namespace}/${name} as its inline volume`;
}

/** What keeps an existing volume from being the one that this pod means, or that no pod means; empty: nothing. */
export function ownerDifferences(
  asked: InlineOwner | undefined,
  has: InlineOwner | undefined,
): readonly string[] {
  if (asked === undefined) return has === undefined ? [] : [`it belongs to ${describeOwner(has)}`];
  if (has === undefined) return ["it is a PersistentVolume's and no inline volume"];
  if (asked.uid !== has.uid) return [`it belongs to ${describeOwner(has)} (uid ${has.uid})`];
  return asked.targetPath === has.targetPath ? [] : [`it is to be published at ${has.targetPath} only`];
}

/** Where kubelet keeps a pod for as long as it has anything of it. */
export interface PodFolder {
  readonly path: string;
  /** the pods' folder of that kubelet */
  readonly parentPath: string;
}

/** Told by kubelet's way of naming targets; undefined where the path is not named so: then nothing is known of the pod. */
export function podFolderOf({ targetPath, uid }: InlineOwner): PodFolder | undefined {
  const [before = '', rest, ...more] = targetPath.split(`/pods/${uid}/`);
  if (rest === undefined || more.length > 0 || !withinPod.test(rest)) return undefined;
  const parentPath = `${before}/pods`;
  return { path: `${parentPath}/${uid}`, parentPath };
}
