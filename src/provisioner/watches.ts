import type { KubeApi } from '../kube/kube-api.ts';
import type { KubeObject, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import { longestSilenceMs, Reflector } from '../kube/reflector.ts';
import { isAtLeast } from '../kube/resource-version.ts';
import { keyOf, ObjectStore } from '../kube/store.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { nodeLabel } from '../claims/annotations.ts';
import { claimKey, classNameOf, uidOf } from '../claims/claim-facts.ts';
import { classNameOfVolume, isFree } from '../claims/volume-facts.ts';

/**
 * What the loops know of the cluster without asking: possibly a moment old, never half a change. Where it is scoped it holds of claims
 * and PVs only those with this node's label: what is absent here may be there, and has to be looked up before anything follows from it.
 */
export interface ClusterView {
  readonly isScoped: boolean;
  claim(key: { readonly namespace: string; readonly name: string }): PersistentVolumeClaim | undefined;
  claimByUid(uid: string): PersistentVolumeClaim | undefined;
  claimsOfClass(className: string): readonly PersistentVolumeClaim[];
  classOf(claim: PersistentVolumeClaim): StorageClass | undefined;
  volume(name: string): PersistentVolume | undefined;
  /** PVs whose claimRef names the claim's namespace and name, whatever uid it says */
  volumesNaming(
    claim: { readonly namespace?: string; readonly name?: string } | PersistentVolumeClaim,
  ): readonly PersistentVolume[];
  /** PVs of the claim's class that nobody has */
  freeVolumesFor(claim: PersistentVolumeClaim): readonly PersistentVolume[];
  /** PVs with this CSI handle, of any driver */
  volumesOfHandle(handle: string): readonly PersistentVolume[];
  /** whether all watches are open, none relisting */
  areLive(): boolean;
  /** writes an API answer through, ahead of the watch */
  putClaim(claim: PersistentVolumeClaim): void;
  putVolume(volume: PersistentVolume): void;
}

type Handler<T> = (change: { readonly previous: T | undefined; readonly current: T | undefined }) => void;

/** The reflectors of claims, volumes and classes, and the questions that the loops put to their stores. */
export class Watches implements ClusterView {
  readonly #claims = new ObjectStore<PersistentVolumeClaim>({
    uid: (claim) => [uidOf(claim)],
    class: (claim) => [classNameOf(claim)],
  });
  readonly #volumes = new ObjectStore<PersistentVolume>({
    claim: ({ spec: { claimRef } }) =>
      claimRef === undefined || claimRef === null ? [] : [claimKey(claimRef)],
    // only the free ones: a class has thousands of volumes, and nearly all are somebody's
    freeOfClass: (volume) => (isFree(volume) ? [classNameOfVolume(volume)] : []),
    handle: ({ spec: { csi } }) => (csi === undefined ? [] : [csi.volumeHandle]),
  });
  readonly #classes = new ObjectStore<StorageClass>();
  /** the label's value that claims and PVs are watched by; unset: all are */
  readonly #labelValue: string | undefined;
  readonly #claimReflector: Reflector<'PersistentVolumeClaim'>;
  readonly #volumeReflector: Reflector<'PersistentVolume'>;
  readonly #classReflector: Reflector<'StorageClass'>;

  constructor(options: {
    readonly api: KubeApi;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
    /** watch claims and PVs with this value of the label `loam.dev/node` only */
    readonly labelValue?: string;
  }) {
    const project = withoutLastApplied;
    this.#labelValue = options.labelValue;
    const list = this.#labelValue === undefined ? {} : { labelSelector: `${nodeLabel}=${this.#labelValue}` };
    this.#claimReflector = new Reflector({
      ...options,
      kind: 'PersistentVolumeClaim',
      list,
      store: this.#claims,
      project,
    });
    this.#volumeReflector = new Reflector({
      ...options,
      kind: 'PersistentVolume',
      list,
      store: this.#volumes,
      project,
    });
    this.#classReflector = new Reflector({ ...options, kind: 'StorageClass', store: this.#classes, project });
  }

  get isScoped(): boolean {
    return this.#labelValue !== undefined;
  }

  /** Sets the gauges of what is held in memory. */
  measure(metrics: Metrics): void {
    for (const [kind, { size }] of [
      ['PersistentVolumeClaim', this.#claims],
      ['PersistentVolume', this.#volumes],
    ] as const)
      metrics.gauge('loam_watched_objects', { kind }, size);
  }

  onClaim(handler: Handler<PersistentVolumeClaim>): void {
    this.#claimReflector.onChange(handler);
  }

  onVolume(handler: Handler<PersistentVolume>): void {
    this.#volumeReflector.onChange(handler);
  }

  onClass(handler: Handler<StorageClass>): void {
    this.#classReflector.onChange(handler);
  }

  /** Resolves when everything was listed once. */
  async start(signal: AbortSignal): Promise<void> {
    for (const reflector of this.#all()) reflector.start(signal);
    await Promise.all(this.#all().map(({ synced }) => synced));
  }

  areLive(): boolean {
    return this.#all().every((reflector) => reflector.isLive());
  }

  /** Less strict than `areLive`: a watch may be between two connections. */
  areFresh(): boolean {
    return this.#all().every((reflector) => reflector.lastContactAgeMs() <= longestSilenceMs);
  }

  claim(key: { readonly namespace: string; readonly name: string }): PersistentVolumeClaim | undefined {
    return this.#claims.get(keyOf(key));
  }

  claimByUid(uid: string): PersistentVolumeClaim | undefined {
    return this.#claims.byIndex('uid', uid)[0];
  }

  claimsOfClass(className: string): readonly PersistentVolumeClaim[] {
    return this.#claims.byIndex('class', className);
  }

  claims(): Iterable<PersistentVolumeClaim> {
    return this.#claims.list();
  }

  classOf(claim: PersistentVolumeClaim): StorageClass | undefined {
    return this.#classes.get(classNameOf(claim));
  }

  classNamed(name: string): StorageClass | undefined {
    return this.#classes.get(name);
  }

  classes(): Iterable<StorageClass> {
    return this.#classes.list();
  }

  volume(name: string): PersistentVolume | undefined {
    return this.#volumes.get(name);
  }

  volumes(): Iterable<PersistentVolume> {
    return this.#volumes.list();
  }

  volumesNaming(
    claim: { readonly namespace?: string; readonly name?: string } | PersistentVolumeClaim,
  ): readonly PersistentVolume[] {
    return this.#volumes.byIndex('claim', claimKey('metadata' in claim ? claim.metadata : claim));
  }

  freeVolumesFor(claim: PersistentVolumeClaim): readonly PersistentVolume[] {
    return this.#volumes.byIndex('freeOfClass', classNameOf(claim));
  }

  volumesOfHandle(handle: string): readonly PersistentVolume[] {
    return this.#volumes.byIndex('handle', handle);
  }

  putClaim(claim: PersistentVolumeClaim): void {
    this.#put(this.#claims, claim);
  }

  putVolume(volume: PersistentVolume): void {
    this.#put(this.#volumes, volume);
  }

  /** An answer without the label leaves the store, as it leaves the watch, which would never say when it is gone. */
  #put<T extends KubeObject>(store: ObjectStore<T>, object: T): void {
    const { labels, resourceVersion } = object.metadata;
    if (this.#labelValue === undefined || labels?.[nodeLabel] === this.#labelValue) return store.put(object);
    const known = store.get(keyOf(object));
    if (known !== undefined && !isAtLeast(known.metadata.resourceVersion, resourceVersion))
      store.remove(keyOf(object));
  }

  #all(): readonly Reflector<'PersistentVolumeClaim' | 'PersistentVolume' | 'StorageClass'>[] {
    return [
      this.#claimReflector,
      this.#volumeReflector,
      this.#classReflector,
    ] as unknown as readonly Reflector<'PersistentVolumeClaim' | 'PersistentVolume' | 'StorageClass'>[];
  }
}

const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

/** kubectl's copy of the whole manifest doubles an object, and nobody here reads it. */
function withoutLastApplied<T extends KubeObject>(object: T): T {
  if (object.metadata.annotations?.[lastApplied] === undefined) return object;
  const { [lastApplied]: _, ...kept } = object.metadata.annotations;
  return { ...object, metadata: { ...object.metadata, annotations: kept } };
}
