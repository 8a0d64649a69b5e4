import type { VolumeSnapshotClass, VolumeSnapshotContent } from '../../kube/objects.ts';
import type { CreateSnapshotRequest } from '../../model/csi-driver.ts';
import { snapshotNameFor } from './content-facts.ts';
import { reservedPrefix, snapshotMetadata } from './protocol.ts';

const secretRoles = ['snapshotter', 'snapshotter-list', 'group-snapshotter', 'group-snapshotter-get'];
const reservedKeys: ReadonlySet<string> = new Set(
  secretRoles.flatMap((role) => [
    `${reservedPrefix}${role}-secret-name`,
    `${reservedPrefix}${role}-secret-namespace`,
  ]),
);

export type BuiltSnapshotRequest =
  | { readonly kind: 'built'; readonly request: CreateSnapshotRequest }
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * What the driver is asked for a content. Pure, so that every attempt asks for the same. `refused`: the content or its class is wrong,
 * and the driver was not asked.
 *
 * @param tellMetadata whether the driver is told which objects the snapshot is for; others' drivers may refuse what they do not know
 */
export function buildSnapshotRequest(input: {
  readonly content: VolumeSnapshotContent;
  readonly snapshotClass: VolumeSnapshotClass | undefined;
  readonly tellMetadata: boolean;
}): BuiltSnapshotRequest {
  const { content, snapshotClass, tellMetadata } = input;
  const { volumeSnapshotClassName: className, volumeSnapshotRef: ref, source } = content.spec;
  if (className === undefined)
    return refused('it names no VolumeSnapshotClass; delete the VolumeSnapshot and make one that does');
  if (snapshotClass === undefined) return refused(`VolumeSnapshotClass ${className} is not there; make it`);
  const parameters = snapshotClass.parameters ?? {};
  const unknown = Object.keys(parameters).find(
    (key) => key.startsWith(reservedPrefix) && !reservedKeys.has(key),
  );
  if (unknown !== undefined) {
    return refused(
      `VolumeSnapshotClass ${className} has the parameter ${JSON.stringify(unknown)}, which is unknown and in the reserved namespace ${reservedPrefix}`,
    );
  }
  if ((ref.uid ?? '') === '') return refused('it is bound to no VolumeSnapshot');
  const passedOn = Object.entries(parameters).filter(([key]) => !reservedKeys.has(key));
  const metadata = {
    [snapshotMetadata.name]: ref.name ?? '',
    [snapshotMetadata.namespace]: ref.namespace ?? '',
    [snapshotMetadata.content]: content.metadata.name,
  };
  return {
    kind: 'built',
    request: {
      name: snapshotNameFor(content),
      sourceVolumeId: source.volumeHandle ?? '',
      parameters: { ...Object.fromEntries(passedOn), ...(tellMetadata ? metadata : {}) },
    },
  };
}

function refused(reason: string): BuiltSnapshotRequest {
  return { kind: 'refused', reason };
}
