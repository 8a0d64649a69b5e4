import type { KindName } from '../kube/kinds.ts';
import type {
  KubeObject,
  ObjectReference,
  PersistentVolume,
  PersistentVolumeClaim,
} from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { bindCompleted, boundByController, decideClaim, type Notice } from './decide-claim.ts';
import { decideVolume } from './decide-volume.ts';
import type { Change } from './history.ts';
import { KeyLoop } from './key-loop.ts';
import { classNameOf } from './match-volume.ts';
import type { ObjectStorage } from './object-storage.ts';
import { claimsOfPod, ProtectionFinalizers } from './protection.ts';
import { VolumeIndex } from './volume-index.ts';

/** Where the binder's Events go; kube's EventRecorder is one. */
export interface Notices {
  record(
    involved: { kind: KindName; object: KubeObject },
    type: Notice['type'],
    reason: string,
    message: string,
  ): void;
}

const provisionerAnnotations = [
  'volume.beta.kubernetes.io/storage-provisioner',
  'volume.kubernetes.io/storage-provisioner',
];

/** PV controller's own period: pending claims are looked at again, and say again why they wait. */
const resyncMs = 15_000;

/**
 * The part of kube-controller-manager that Loam depends on: binds claims and PVs, moves their phases, asks for provisioning,
 * and takes the protection finalizers off when it may. Works on the storage directly, so that it never sees a stale object.
 */
export class VolumeBinder {
  readonly #storage: ObjectStorage;
  readonly #notices: Notices;
  readonly #loop: KeyLoop;
  readonly #protection: ProtectionFinalizers;
  readonly #volumes = new VolumeIndex();
  readonly #unsubscribe: () => void;

  constructor(options: { storage: ObjectStorage; notices: Notices; clock: Clock; log: Log }) {
    this.#storage = options.storage;
    this.#notices = options.notices;
    this.#protection = new ProtectionFinalizers(options.storage);
    this.#loop = new KeyLoop({ handle: (key) => this.#handle(key), clock: options.clock, log: options.log });
    this.#unsubscribe = options.storage.history.subscribe((change) => this.#seen(change));
    for (const volume of options.storage.all('PersistentVolume')) this.#volumes.seen(volume, false);
    this.#loop.add('resync');
  }

  /** A binder that is paused lags behind, as a busy controller manager does. */
  pause(isPaused: boolean): void {
    this.#loop.pause(isPaused);
  }

  stop(): void {
    this.#unsubscribe();
    this.#loop.stop();
  }

  #seen(change: Change): void {
    const { kind, object } = change;
    const { namespace = '', name } = object.metadata;
    if (kind === 'PersistentVolume') {
      const volume = object as unknown as PersistentVolume;
      this.#loop.add(`pv/${name}`);
      this.#volumes.seen(volume, change.type === 'DELETED');
      const { claimRef } = volume.spec;
      if (claimRef) this.#loop.add(`pvc/${claimRef.namespace ?? ''}/${claimRef.name ?? ''}`);
      else if (volume.status?.phase === 'Available') this.#addPendingClaims();
    } else if (kind === 'PersistentVolumeClaim') {
      this.#loop.add(`pvc/${namespace}/${name}`);
      for (const volume of this.#volumes.reservedFor(object.metadata)) this.#loop.add(`pv/${volume}`);
    } else if (kind === 'Pod') {
      for (const claim of claimsOfPod(object)) this.#loop.add(`pvc/${namespace}/${claim}`);
    } else if (kind === 'StorageClass') this.#addPendingClaims();
  }

  #handle(key: string): void {
    const [head = '', ...rest] = key.split('/');
    if (head === 'pv') this.#syncVolume(rest[0] ?? '');
    else if (head === 'pvc') this.#syncClaim(rest[0] ?? '', rest[1] ?? '');
    else this.#resync();
  }

  #resync(): void {
    for (const volume of this.#storage.all('PersistentVolume')) this.#loop.add(`pv/${volume.metadata.name}`);
    for (const { metadata } of this.#storage.all('PersistentVolumeClaim'))
      this.#loop.add(`pvc/${metadata.namespace ?? ''}/${metadata.name}`);
    this.#loop.addAfter('resync', resyncMs);
  }

  #addPendingClaims(): void {
    for (const { metadata, status } of this.#storage.all('PersistentVolumeClaim')) {
      if (status?.phase === 'Pending') this.#loop.add(`pvc/${metadata.namespace ?? ''}/${metadata.name}`);
    }
  }

  #syncVolume(name: string): void {
    const volume = this.#storage.find('PersistentVolume', { name });
    if (volume === undefined || this.#protection.releaseVolume(volume)) return;
    const { claimRef } = volume.spec;
    const claimKey = { namespace: claimRef?.namespace ?? '', name: claimRef?.name ?? '' };
    const step = decideVolume(volume, this.#storage.find('PersistentVolumeClaim', claimKey));
    switch (step.kind) {
      case 'set-phase':
        this.#setVolumePhase(name, step.phase, step.message);
        if (step.notice !== undefined) this.#tell('PersistentVolume', volume, step.notice);
        return;
      case 'sync-claim':
        this.#loop.add(`pvc/${claimKey.namespace}/${claimKey.name}`);
        return;
      case 'unbind':
        this.#unbind(name, step.clear);
        return;
      case 'notice':
        this.#tell('PersistentVolume', volume, step.notice);
        return;
      case 'nothing':
    }
  }

  #syncClaim(namespace: string, name: string): void {
    const claim = this.#storage.find('PersistentVolumeClaim', { namespace, name });
    if (claim === undefined || this.#protection.releaseClaim(claim)) return;
    const step = decideClaim(claim, {
      volumes: () => this.#candidates(claim),
      named: this.#storage.find('PersistentVolume', { name: claim.spec.volumeName ?? '' }),
      storageClass: this.#storage.find('StorageClass', { name: classNameOf(claim) }),
      waitingPods: () => this.#protection.unscheduledPodsOf(claim),
    });
    switch (step.kind) {
      case 'bind':
        this.#bind(step.volume, claim);
        return;
      case 'lose':
        if (claim.status?.phase !== 'Lost') {
          this.#setClaimStatus(claim, { phase: 'Lost' });
          this.#tell('PersistentVolumeClaim', claim, step.notice);
        }
        return;
      case 'ask-provisioner':
        this.#annotate(
          claim,
          Object.fromEntries(provisionerAnnotations.map((key) => [key, step.provisioner])),
        );
        this.#tell('PersistentVolumeClaim', claim, step.notice);
        return;
      case 'wait':
        this.#setClaimStatus(claim, { phase: 'Pending' });
        if (step.notice !== undefined) this.#tell('PersistentVolumeClaim', claim, step.notice);
    }
  }

  *#candidates(claim: PersistentVolumeClaim): Generator<PersistentVolume> {
    for (const name of [...this.#volumes.reservedFor(claim.metadata), ...this.#volumes.free()]) {
      const volume = this.#storage.find('PersistentVolume', { name });
      if (volume !== undefined) yield volume;
    }
  }

  /** Four writes in the controller's order; each is left out where it has been done, so a repeat finishes a binding. */
  #bind(volume: PersistentVolume, claim: PersistentVolumeClaim): void {
    const { name } = volume.metadata;
    this.#storage.update('PersistentVolume', { name }, (current) => withClaim(current, claim));
    this.#setVolumePhase(name, 'Bound', '');
    const isNamed = (claim.spec.volumeName ?? '') !== '';
    this.#storage.update('PersistentVolumeClaim', claim.metadata, (current) => ({
      ...current,
      metadata: {
        ...current.metadata,
        annotations: {
          ...current.metadata.annotations,
          [bindCompleted]: 'yes',
          ...(isNamed ? {} : { [boundByController]: 'yes' }),
        },
      },
      spec: { ...current.spec, volumeName: name },
    }));
    if (claim.status?.phase === 'Bound') return;
    const { accessModes = [], capacity = {} } = volume.spec;
    this.#setClaimStatus(claim, { phase: 'Bound', accessModes, capacity });
  }

  #unbind(name: string, clear: 'ref' | 'uid'): void {
    this.#storage.update('PersistentVolume', { name }, (current) => {
      const { [boundByController]: _, ...annotations } = current.metadata.annotations ?? {};
      const { claimRef, ...spec } = current.spec;
      const { uid: __, resourceVersion: ___, ...reservation } = claimRef ?? {};
      const metadata = { ...current.metadata, annotations };
      return { ...current, metadata, spec: clear === 'ref' ? spec : { ...spec, claimRef: reservation } };
    });
    this.#setVolumePhase(name, 'Available', '');
  }

  #setVolumePhase(
    name: string,
    phase: NonNullable<PersistentVolume['status']>['phase'] & string,
    message: string,
  ): void {
    const change = (current: PersistentVolume): PersistentVolume => {
      const { message: _, ...status } = current.status ?? {};
      return { ...current, status: { ...status, phase, ...(message === '' ? {} : { message }) } };
    };
    this.#storage.update('PersistentVolume', { name }, change, { subresource: 'status' });
  }

  #setClaimStatus(claim: PersistentVolumeClaim, status: NonNullable<PersistentVolumeClaim['status']>): void {
    this.#storage.update('PersistentVolumeClaim', claim.metadata, (current) => ({ ...current, status }), {
      subresource: 'status',
    });
  }

  #annotate(claim: PersistentVolumeClaim, annotations: Record<string, string>): void {
    this.#storage.update('PersistentVolumeClaim', claim.metadata, (current) => ({
      ...current,
      metadata: { ...current.metadata, annotations: { ...current.metadata.annotations, ...annotations } },
    }));
  }

  #tell(kind: KindName, object: KubeObject, { type, reason, message }: Notice): void {
    this.#notices.record({ kind, object }, type, reason, message);
  }
}

/** A reservation without uid gets it and stays the user's; a free PV is marked as taken by the controller. */
function withClaim(volume: PersistentVolume, claim: PersistentVolumeClaim): PersistentVolume {
  const { namespace, name, uid, resourceVersion } = claim.metadata;
  const { claimRef } = volume.spec;
  if (claimRef?.uid !== undefined && claimRef.uid === uid) return volume;
  const whole: ObjectReference = { kind: 'PersistentVolumeClaim', apiVersion: 'v1' };
  Object.assign(whole, { namespace, name, uid, resourceVersion });
  const spec = { ...volume.spec, claimRef: whole };
  if (claimRef?.name !== undefined) return { ...volume, spec };
  const annotations = { ...volume.metadata.annotations, [boundByController]: 'yes' };
  return { ...volume, metadata: { ...volume.metadata, annotations }, spec };
}
