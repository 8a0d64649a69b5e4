import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import type { WorkQueue } from '../kube/work-queue.ts';
import { uidOf } from '../claims/claim-facts.ts';
import type { SourceRef } from '../claims/data-source.ts';
import { isOfDriver, type OwnSide } from '../claims/volume-facts.ts';
import type { Intents } from './intents.ts';
import type { OutcomeEvents } from './outcome-events.ts';
import type { Watches } from './watches.ts';

/** Which news wake which work. */
export function wakeOnNews(
  watches: Watches,
  parts: {
    readonly claims: WorkQueue;
    readonly volumes: WorkQueue;
    readonly intents: Intents;
    readonly events: OutcomeEvents;
    readonly own: OwnSide;
    readonly onSource: (ref: SourceRef) => void;
  },
): void {
  const { claims, volumes, intents, events, own, onSource } = parts;
  const addVolume = (volume: PersistentVolume): void => {
    if (isOfDriver(volume, own.driverName)) volumes.add(volume.metadata.name);
  };
  watches.onClaim(({ previous, current }) => {
    if (current !== undefined && isBound(current) && (previous === undefined || !isBound(previous))) {
      const { namespace = '', name } = current.metadata;
      onSource({ kind: 'claim', namespace, name });
    }
    if (current !== undefined && (isOpen(current) || intents.has(uidOf(current)))) claims.add(uidOf(current));
    if (previous === undefined || (current !== undefined && uidOf(previous) === uidOf(current))) return;
    // gone, or made anew under the same name
    claims.add(uidOf(previous));
    for (const volume of watches.volumesNaming(previous)) addVolume(volume);
  });
  watches.onVolume(({ previous, current }) => {
    if (current !== undefined) addVolume(current);
    if (previous === undefined || (current !== undefined && uidOf(previous) === uidOf(current))) return;
    events.forget(uidOf(previous));
    volumes.add(previous.metadata.name);
    // one that had the same data may have waited for this one's end
    for (const volume of watches.volumesOfHandle(previous.spec.csi?.volumeHandle ?? '')) addVolume(volume);
  });
  watches.onClass(({ current }) => {
    if (current?.provisioner !== own.driverName) return;
    for (const claim of watches.claimsOfClass(current.metadata.name))
      if (isOpen(claim)) claims.add(uidOf(claim));
  });
}

/** Whether it can be cloned. */
function isBound({ status }: PersistentVolumeClaim): boolean {
  return status?.phase === 'Bound';
}

/** Whether anything is left to do for a claim. */
export function isOpen(claim: PersistentVolumeClaim): boolean {
  return (claim.spec.volumeName ?? '') === '';
}
