import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { formatBytes } from '../model/quantity.ts';
import { cloningFinalizer } from './annotations.ts';
import { claimKey, requestedBytes, uidOf } from './claim-facts.ts';
import type { SourceDecision } from './decide-restore.ts';
import { topologyValueOf } from './volume-facts.ts';

export interface CloneFacts {
  readonly claim: PersistentVolumeClaim;
  readonly driverName: string;
  readonly source: PersistentVolumeClaim;
  /** the PV that the source names; undefined: there is none of that name */
  readonly volume: PersistentVolume | undefined;
}

/** Upstream's checks of a clone. The two classes may differ: it is the driver that has to be the same. */
export function decideClone({ claim, driverName, source, volume }: CloneFacts): SourceDecision {
  const what = `claim ${claimKey(source.metadata)}`;
  const { deletionTimestamp, finalizers = [] } = source.metadata;
  // protected already: a clone that was begun goes on
  if (deletionTimestamp !== undefined && !finalizers.includes(cloningFinalizer))
    return notReady(`${what} is being deleted; clone another one`);
  const volumeName = source.spec.volumeName ?? '';
  if (source.status?.phase !== 'Bound' || volumeName === '')
    return notReady(`${what} is not Bound; it can be cloned as soon as it has a volume`);
  if (volume === undefined) return notReady(`PersistentVolume ${volumeName} of ${what} is not there`);
  const { csi, claimRef } = volume.spec;
  if (csi === undefined) return notReady(`PersistentVolume ${volumeName} of ${what} is no CSI volume`);
  if (csi.driver !== driverName)
    return notReady(`${what} is of driver ${csi.driver}, the class is of ${driverName}`);
  const isBoundBack =
    claimRef?.uid === uidOf(source) &&
    claimRef.namespace === source.metadata.namespace &&
    claimRef.name === source.metadata.name &&
    volume.status?.phase === 'Bound';
  if (!isBoundBack) return notReady(`PersistentVolume ${volumeName} is not bound to ${what}`);
  const mode = claim.spec.volumeMode ?? 'Filesystem';
  const sourceMode = source.spec.volumeMode ?? 'Filesystem';
  if (mode !== sourceMode) return notReady(`${what} is of mode ${sourceMode}, the claim asks for ${mode}`);
  const [bytes, leastBytes] = [requestedBytes(claim), requestedBytes(source)];
  if (bytes < leastBytes) {
    const asked = `the claim asks for ${formatBytes(bytes)}, which is ${leastBytes - bytes} bytes less`;
    return notReady(`${what} has ${formatBytes(leastBytes)}, ${asked}; ask for as much or more`);
  }
  const node = topologyValueOf(volume);
  return {
    kind: 'ready',
    contentSource: { kind: 'volume', volumeId: csi.volumeHandle },
    ...(node === undefined ? {} : { node }),
  };
}

function notReady(reason: string): SourceDecision {
  return { kind: 'not-ready', reason };
}
