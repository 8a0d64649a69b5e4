import type { PersistentVolumeClaim, VolumeSnapshot, VolumeSnapshotContent } from '../kube/objects.ts';
import { formatBytes, parseQuantity } from '../model/quantity.ts';
import type { ContentSource } from '../model/volume.ts';
import { allowModeChange, nodeLabel, restoringFinalizer } from './annotations.ts';
import { requestedBytes, uidOf } from './claim-facts.ts';

/** Whether a source can be copied from. */
export type SourceDecision =
  | {
      readonly kind: 'ready';
      readonly contentSource: ContentSource;
      /** topology value of the node that has it; unset: nobody wrote it down */
      readonly node?: string;
      /** handle of the volume that was captured, which may tell the node */
      readonly capturedVolume?: string;
    }
  | { readonly kind: 'not-ready'; readonly reason: string };

export interface RestoreFacts {
  readonly claim: PersistentVolumeClaim;
  readonly driverName: string;
  readonly snapshot: VolumeSnapshot;
  /** the content that the snapshot says it is bound to; undefined: there is none of that name */
  readonly content: VolumeSnapshotContent | undefined;
}

/** Upstream's checks of a restore, in its order. What fails may come right by itself or by somebody's hand: it is tried again. */
export function decideRestore({ claim, driverName, snapshot, content }: RestoreFacts): SourceDecision {
  const { name, namespace = '', deletionTimestamp, finalizers = [] } = snapshot.metadata;
  const what = `snapshot ${namespace}/${name}`;
  // protected already: a restore that was begun goes on
  if (deletionTimestamp !== undefined && !finalizers.includes(restoringFinalizer))
    return notReady(`${what} is being deleted; restore from another one`);
  const contentName = snapshot.status?.boundVolumeSnapshotContentName ?? '';
  if (contentName === '') {
    return notReady(
      `${what} is not bound to a VolumeSnapshotContent yet; without a snapshot-controller it never is${faultOf(snapshot)}`,
    );
  }
  if (content === undefined) return notReady(`VolumeSnapshotContent ${contentName} of ${what} is not there`);
  const { driver, volumeSnapshotRef: ref, sourceVolumeMode, source } = content.spec;
  if (ref.uid !== uidOf(snapshot) || ref.namespace !== namespace || ref.name !== name)
    return notReady(`VolumeSnapshotContent ${contentName} is bound to another VolumeSnapshot than ${what}`);
  if (driver !== driverName) return notReady(`${what} is of driver ${driver}, the class is of ${driverName}`);
  if (snapshot.status?.readyToUse !== true)
    return notReady(`${what} is not ready to use yet${faultOf(snapshot) || absenceOf(content)}`);
  const snapshotId = content.status?.snapshotHandle ?? '';
  if (snapshotId === '') return notReady(`VolumeSnapshotContent ${contentName} names no snapshot handle`);
  const leastBytes = restoreBytes(snapshot, content);
  const bytes = requestedBytes(claim);
  if (leastBytes > bytes) {
    const asked = `the claim asks for ${formatBytes(bytes)}, which is ${leastBytes - bytes} bytes less`;
    return notReady(`${what} needs ${formatBytes(leastBytes)}, ${asked}; ask for as much or more`);
  }
  const mode = claim.spec.volumeMode ?? 'Filesystem';
  const mayChange = content.metadata.annotations?.[allowModeChange] === 'true';
  if (sourceVolumeMode !== undefined && sourceVolumeMode !== mode && !mayChange) {
    return notReady(
      `${what} is of a volume of mode ${sourceVolumeMode}, the claim asks for ${mode}; an administrator may allow that by the annotation ${allowModeChange}: "true" on VolumeSnapshotContent ${contentName}`,
    );
  }
  const node = content.metadata.labels?.[nodeLabel];
  const capturedVolume = source.volumeHandle;
  return {
    kind: 'ready',
    contentSource: { kind: 'snapshot', snapshotId },
    ...(node === undefined || node === '' ? {} : { node }),
    ...(capturedVolume === undefined ? {} : { capturedVolume }),
  };
}

/** The least size of a restore; 0n = nobody told. */
function restoreBytes(snapshot: VolumeSnapshot, content: VolumeSnapshotContent): bigint {
  const text = snapshot.status?.restoreSize;
  if (text !== undefined) return parseQuantity(text);
  const bytes = content.status?.restoreSize ?? 0;
  return Number.isSafeInteger(bytes) && bytes > 0 ? BigInt(bytes) : 0n;
}

/** Made beforehand, and no node has said that it has it. */
function absenceOf({ metadata, spec }: VolumeSnapshotContent): string {
  const { snapshotHandle = '' } = spec.source;
  const isTaken = (metadata.labels?.[nodeLabel] ?? '') !== '';
  return snapshotHandle === '' || isTaken
    ? ''
    : `: no node has said that it has ${snapshotHandle}; check the snapshotHandle of VolumeSnapshotContent ${metadata.name}, and that the disk is there`;
}

function faultOf(snapshot: VolumeSnapshot): string {
  const message = snapshot.status?.error?.message ?? '';
  return message === '' ? '' : `: ${message}`;
}

function notReady(reason: string): SourceDecision {
  return { kind: 'not-ready', reason };
}
