import { isConflict } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import * as annotations from '../../claims/annotations.ts';
import { isOnNode, namesClaim, type OwnSide } from '../../claims/volume-facts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { Watches } from '../watches.ts';
import { decideFit, type FitDecision } from './decide-fit.ts';

export interface FitOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly events: OutcomeEvents;
  readonly own: OwnSide;
  readonly log: Log;
}

/** Where a claim waits for a PV of ours that can never be bound to it, it is told why; for modes alone the PV is changed. */
export async function checkFits(options: FitOptions, signal: AbortSignal): Promise<void> {
  const { watches, own, events } = options;
  for (const volume of watches.volumes()) {
    if (volume.metadata.annotations?.[annotations.adopted] !== 'by-name') continue;
    if (volume.spec.csi?.driver !== own.driverName || !isOnNode(volume, own)) continue;
    const { namespace = '', name = '', uid = '' } = volume.spec.claimRef ?? {};
    if (uid !== '' || name === '') continue;
    const claim = watches.claim({ namespace, name });
    if (claim === undefined || !namesClaim(volume, claim) || (claim.spec.volumeName ?? '') !== '') continue;
    const fit = fitOf(volume, claim);
    if (fit.kind === 'misfit') events.warning('PersistentVolumeClaim', claim, 'AdoptionMisfit', fit.reason);
    if (fit.kind === 'modes') await changeModes(options, volume, claim, fit.accessModes, signal);
  }
}

async function changeModes(
  { watches, events, api, log }: FitOptions,
  volume: PersistentVolume,
  claim: PersistentVolumeClaim,
  accessModes: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { name, resourceVersion } = volume.metadata;
  const body = { metadata: { resourceVersion }, spec: { accessModes } };
  try {
    watches.putVolume(await api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal));
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ persistentVolume: name, err: messageOf(error) }, "a PV's access modes could not be changed");
    // a PV is offered anew with the modes of the claim that waits
    const text = `PersistentVolume ${name} is reserved for the claim and does not say ${accessModes.join(', ')}; delete it, and the volume is offered again with that`;
    if (!isConflict(error)) events.warning('PersistentVolumeClaim', claim, 'AdoptionMisfit', text);
  }
}

/** One claim that asks for what nobody can count must not keep the others from being looked at. */
function fitOf(volume: PersistentVolume, claim: PersistentVolumeClaim): FitDecision {
  try {
    return decideFit(volume, claim);
  } catch (error) {
    return { kind: 'misfit', reason: `claim or PersistentVolume has no size: ${messageOf(error)}` };
  }
}
