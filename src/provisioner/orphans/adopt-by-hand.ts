import { isAlreadyExists } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../kube/objects.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { isReason } from '../../model/errors.ts';
import { CsiError } from '../../model/status-code.ts';
import { poolUuidKey } from '../../model/volume.ts';
import type { AdoptedVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import { classNameOf } from '../../claims/claim-facts.ts';
import { readTombstone, tombstoneName } from '../../claims/tombstone.ts';
import { standsFor, type OwnSide } from '../../claims/volume-facts.ts';
import { whyUnfit } from '../../claims/why-unfit.ts';
import { buildAdoptedVolume } from '../adoption/build-adopted-volume.ts';
import type { Watches } from '../watches.ts';
import type { Orphans } from './orphans.ts';
import { whyGoing } from './why-going.ts';

/** What a person asks for. Exactly one of path and volumeId. */
export interface HandAdoptionRequest {
  readonly path?: string;
  readonly volumeId?: string;
  /** whose it will be; unset: any claim's that fits */
  readonly claim?: { readonly namespace: string; readonly name: string };
  /** unset: the claim's where it exists, else the one that the record names and that still exists, else none */
  readonly className?: string;
  /** of a folder: what its PV promises; unset: 1 GiB */
  readonly sizeBytes?: string;
  readonly policy: 'Retain' | 'Delete';
  readonly apply: boolean;
}

export interface HandAdoptionOptions {
  readonly api: KubeApi;
  readonly watches: Pick<Watches, 'classes' | 'putVolume'>;
  readonly ledger: Pick<VolumeLedger, 'adopt' | 'heldOf'>;
  readonly orphans: Orphans;
  readonly own: OwnSide;
  readonly clusterUid: string | undefined;
  /** where the controller notes what it let go while this node was not there; undefined: nobody does */
  readonly tombstoneNamespace: string | undefined;
}

/** Makes a volume of what lies at a path of a pool; the disk's side of it, which this room does not know. */
export type AdoptPath = (
  path: string,
  options: {
    readonly owner: { readonly clusterUid?: string; readonly className?: string };
    readonly parameters?: Readonly<Record<string, string>>;
    readonly sizeBytes?: bigint;
  },
  call: CallContext,
) => Promise<AdoptedVolume>;

/**
 * `loam adopt`: a PV for a volume that nobody stands for, or for a folder or image that lies in a pool. Retain unless told; killed
 * anywhere, a repeat ends in the same PV, and what was made of a path in between is an orphan that nothing sweeps.
 */
export class HandAdoption {
  readonly #options: HandAdoptionOptions;

  constructor(options: HandAdoptionOptions) {
    this.#options = options;
  }

  /** @throws CsiError with why it cannot be; whatever the API and the disk throw */
  async adopt(
    request: HandAdoptionRequest,
    adoptPath: AdoptPath,
    call: CallContext,
  ): Promise<{ volumeId: string; manifest: PersistentVolume; isCreated: boolean; message: string }> {
    const { orphans, clusterUid } = this.#options;
    const claim = await this.#claim(request, call.signal);
    const wantedClass = this.#class(request.className ?? (claim && classNameOf(claim)));
    const owner = clusterUid === undefined ? {} : { clusterUid };
    let { volumeId } = request;
    if (request.path !== undefined) {
      const className = wantedClass?.metadata.name;
      const { parameters } = wantedClass ?? {};
      const options = {
        owner: { ...owner, ...(className === undefined ? {} : { className }) },
        ...(parameters === undefined ? {} : { parameters }),
        ...(request.sizeBytes === undefined ? {} : { sizeBytes: BigInt(request.sizeBytes) }),
      };
      ({ volumeId } = await adoptPath(request.path, options, call));
    }
    if (volumeId === undefined)
      throw new CsiError('INVALID_ARGUMENT', 'neither a path nor a volume is named');
    const id = volumeId;
    return orphans.alone(id, async () => {
      const standing = await this.#standing(id, call.signal);
      if (standing !== undefined) return this.#answerStanding(id, standing, request);
      await this.#assertClaimFree(request, call.signal);
      if (!request.apply) await this.#assertNotLetGo(id, call.signal);
      const className = wantedClass?.metadata.name;
      const named = className === undefined ? {} : { className };
      const volume = await this.#options.ledger.adopt(id, { ...owner, ...named }, call);
      const storageClass = wantedClass ?? this.#knownClass(volume.className);
      const manifest = this.#manifest(volume, storageClass, request);
      const unfit = claim === undefined ? undefined : whyUnfit(manifest, claim);
      if (unfit !== undefined)
        throw refused(`claim ${keyOf(request)} ${unfit}; it could not get volume ${id}`);
      if (request.apply) return this.#create(id, manifest, request, call.signal);
      const { name } = manifest.metadata;
      const there = await lookUp(this.#options.api, 'PersistentVolume', { name }, call.signal);
      if (there !== undefined) this.#assertSame(id, manifest, there);
      const message = `PersistentVolume ${name} is to be created; volume ${id} stays an orphan until it is`;
      return { volumeId: id, manifest, isCreated: false, message };
    });
  }

  #manifest(
    volume: AdoptedVolume,
    storageClass: StorageClass | undefined,
    { claim, policy }: HandAdoptionRequest,
  ): PersistentVolume {
    const { driverName, topologyValue } = this.#options.own;
    return buildAdoptedVolume({
      volume,
      how: 'by-hand',
      driverName,
      topologyValue,
      policy,
      ...(storageClass === undefined ? {} : { storageClass }),
      ...(claim === undefined ? {} : { claim }),
    });
  }

  /** The PV that stands for the volume already, by a live look. */
  async #standing(volumeId: string, signal: AbortSignal): Promise<PersistentVolume | undefined> {
    let whose;
    try {
      whose = await this.#options.orphans.look(volumeId, signal);
    } catch (error) {
      // in an archive, perhaps, which adopting takes it from
      if (isReason(error, 'volume-not-found')) return undefined;
      throw error;
    }
    const { held, decision } = whose;
    if (decision.kind === 'owned') return decision.volume;
    if (decision.kind === 'unknown')
      throw new CsiError('UNAVAILABLE', `volume ${volumeId}: ${decision.reason}`);
    if (decision.kind === 'begun') throw refused(`volume ${volumeId} is no orphan: ${decision.reason}`);
    if (held.isRecycling)
      throw refused(
        `volume ${volumeId} was being emptied and has no data to adopt; loam gc --remove ${volumeId} deletes it`,
      );
    return undefined;
  }

  #answerStanding(volumeId: string, manifest: PersistentVolume, { claim }: HandAdoptionRequest) {
    const { name } = manifest.metadata;
    const going = whyGoing(manifest);
    if (going !== undefined) throw refused(`volume ${volumeId} is no orphan: ${going}`);
    const ref = manifest.spec.claimRef ?? undefined;
    const isSame = claim === undefined || (ref?.namespace === claim.namespace && ref.name === claim.name);
    if (!isSame)
      throw refused(
        `volume ${volumeId} has PersistentVolume ${name} already, for ${ref === undefined ? 'any claim' : `claim ${ref.namespace ?? ''}/${ref.name ?? ''}`}`,
      );
    return {
      volumeId,
      manifest,
      isCreated: true,
      message: `volume ${volumeId} has PersistentVolume ${name} already`,
    };
  }

  async #create(
    volumeId: string,
    manifest: PersistentVolume,
    request: HandAdoptionRequest,
    signal: AbortSignal,
  ) {
    const { api, watches } = this.#options;
    const { name } = manifest.metadata;
    let created: PersistentVolume;
    try {
      created = await api.create('PersistentVolume', manifest, signal);
      watches.putVolume(created);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      created = await api.get('PersistentVolume', { name }, signal);
      this.#assertSame(volumeId, manifest, created);
    }
    const whose = request.claim === undefined ? 'any claim that fits it' : `claim ${keyOf(request)}`;
    return {
      volumeId,
      manifest: created,
      isCreated: true,
      message: `created PersistentVolume ${name} for volume ${volumeId}, reserved for ${whose}`,
    };
  }

  /** That what has the manifest's name already is the PV of this volume. */
  #assertSame(volumeId: string, { metadata, spec }: PersistentVolume, there: PersistentVolume): void {
    const poolUuid = spec.csi?.volumeAttributes?.[poolUuidKey];
    if (!standsFor(there, { volumeId, poolUuid }, this.#options.own.driverName))
      throw refused(
        `PersistentVolume ${metadata.name} exists and stands for something else; remove or rename it, then repeat`,
      );
  }

  /**
   * A PV keeps what a tombstone would have destroyed; a manifest that somebody has yet to apply does not. One in an archive is let go
   * already, whatever a tombstone says.
   */
  async #assertNotLetGo(volumeId: string, signal: AbortSignal): Promise<void> {
    const { api, ledger, own, tombstoneNamespace: namespace } = this.#options;
    if (namespace === undefined) return;
    for (const { poolUuid } of ledger.heldOf(volumeId)) {
      const name = tombstoneName({ driverName: own.driverName, volumeId, poolUuid });
      const object = await lookUp(api, 'ConfigMap', { namespace, name }, signal);
      const stone = object === undefined ? undefined : readTombstone(object);
      if (stone?.mayErase === true)
        throw refused(
          `volume ${volumeId} was let go while this node was away (${stone.why}) and is about to be destroyed; ` +
            `--apply gives it a PersistentVolume at once, which keeps it, or first take the tombstone away (kubectl -n ${namespace} delete configmap ${name})`,
        );
    }
  }

  /** The claim as it is now, where it exists; one that has a volume gets no other. */
  async #claim(
    { claim: key }: HandAdoptionRequest,
    signal: AbortSignal,
  ): Promise<PersistentVolumeClaim | undefined> {
    if (key === undefined) return undefined;
    const claim = await lookUp(this.#options.api, 'PersistentVolumeClaim', key, signal);
    const bound = claim?.spec.volumeName ?? '';
    if (bound !== '') throw refused(`claim ${key.namespace}/${key.name} has a volume, ${bound}`);
    return claim;
  }

  async #assertClaimFree({ claim: key }: HandAdoptionRequest, signal: AbortSignal): Promise<void> {
    if (key === undefined) return;
    const keep = ({ spec: { claimRef } }: PersistentVolume): boolean =>
      claimRef?.namespace === key.namespace && claimRef.name === key.name && claimRef.uid === undefined;
    const [other] = (await this.#options.api.list('PersistentVolume', { keep }, signal)).items;
    if (other !== undefined)
      throw refused(
        `PersistentVolume ${other.metadata.name} is reserved for claim ${key.namespace}/${key.name} already`,
      );
  }

  #class(name: string | undefined): StorageClass | undefined {
    if (name === undefined || name === '') return undefined;
    const found = this.#knownClass(name);
    if (found !== undefined) return found;
    throw refused(`there is no StorageClass ${name} of ${this.#options.own.driverName}`);
  }

  #knownClass(name: string | undefined): StorageClass | undefined {
    return [...this.#options.watches.classes()].find(
      ({ metadata, provisioner }) => metadata.name === name && provisioner === this.#options.own.driverName,
    );
  }
}

function refused(message: string): CsiError {
  return new CsiError('FAILED_PRECONDITION', message);
}

function keyOf({ claim }: HandAdoptionRequest): string {
  return claim === undefined ? '' : `${claim.namespace}/${claim.name}`;
}
