import { nodeLabel } from '../claims/annotations.ts';
import { ApiError, isKindMissing } from '../kube/api-error.ts';
import type { EventReason } from '../claims/event-reasons.ts';
import type { EventSink } from '../kube/event-recorder.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume, VolumeSnapshotContent } from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';

interface TellOptions {
  readonly api: KubeApi;
  readonly driverName: string;
  readonly events: EventSink<EventReason>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A node that has the volume takes the content within a second or two. */
const untakenMs = 2 * 60_000;

/**
 * Says of snapshots to be taken that nobody can take them: no node has put its label there, and no PersistentVolume stands for the
 * source. On the content and on its VolumeSnapshot, at each sweep; nothing is changed, since the volume may come back.
 */
export async function tellLostSources(options: TellOptions, signal: AbortSignal): Promise<void> {
  const { events, log } = options;
  try {
    const untaken = await untakenContents(options, signal);
    if (untaken.length === 0) return;
    const found = await handlesOf(options, new Set(untaken.map(sourceOf)), signal);
    for (const content of untaken) {
      const handle = sourceOf(content);
      if (found.has(handle)) continue;
      const text = `its source, volume ${handle}, is on no node: there is no PersistentVolume of it, and no node has taken the snapshot; delete the snapshot, or bring the volume's disk back`;
      const { namespace = '', name = '' } = content.spec.volumeSnapshotRef;
      events.record(
        { kind: 'VolumeSnapshotContent', object: content },
        'Warning',
        'SnapshotSourceMissing',
        text,
      );
      const { uid } = content.spec.volumeSnapshotRef;
      const snapshot = { metadata: { namespace, name, ...(uid === undefined ? {} : { uid }) } };
      events.record({ kind: 'VolumeSnapshot', object: snapshot }, 'Warning', 'SnapshotSourceMissing', text);
      log.warn(
        { volumeSnapshotContent: content.metadata.name, volumeId: handle },
        'a snapshot has no source',
      );
    }
  } catch (error) {
    if (!signal.aborted)
      log.warn({ err: messageOf(error) }, 'could not look for snapshots without a source; later again');
  }
}

function sourceOf({ spec }: VolumeSnapshotContent): string {
  return spec.source.volumeHandle ?? '';
}

async function untakenContents(
  { api, driverName, clock }: TellOptions,
  signal: AbortSignal,
): Promise<readonly VolumeSnapshotContent[]> {
  const keep = (content: VolumeSnapshotContent): boolean => {
    const { metadata, spec, status } = content;
    const ageMs = clock.nowMs() - Date.parse(metadata.creationTimestamp ?? '');
    return (
      spec.driver === driverName &&
      sourceOf(content) !== '' &&
      (status?.snapshotHandle ?? '') === '' &&
      (metadata.labels?.[nodeLabel] ?? '') === '' &&
      metadata.deletionTimestamp === undefined &&
      ageMs > untakenMs
    );
  };
  try {
    return (await api.list('VolumeSnapshotContent', { keep }, signal)).items;
  } catch (error) {
    if (isKindMissing(error) || (error instanceof ApiError && error.status === 403)) return [];
    throw error;
  }
}

/** Which of these volumes a PV stands for: one made beforehand may have any name. */
async function handlesOf(
  { api, driverName }: TellOptions,
  handles: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Set<string>> {
  const handleOf = ({ spec: { csi } }: PersistentVolume): string =>
    csi?.driver === driverName ? csi.volumeHandle : '';
  const keep = (volume: PersistentVolume): boolean => handles.has(handleOf(volume));
  const { items } = await api.list('PersistentVolume', { keep }, signal);
  return new Set(items.map(handleOf));
}
