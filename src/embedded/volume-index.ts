import type { PersistentVolume } from '../kube/objects.ts';

/** Which PVs are free and which are reserved for whom, so that a claim need not look at all of them. */
export class VolumeIndex {
  readonly #free = new Set<string>();
  readonly #byClaim = new Map<string, Set<string>>();
  readonly #claimOf = new Map<string, string>();

  seen(volume: PersistentVolume, isGone: boolean): void {
    const { name } = volume.metadata;
    this.#forget(name);
    if (isGone) return;
    const { claimRef } = volume.spec;
    if (claimRef === undefined || claimRef === null) {
      this.#free.add(name);
      return;
    }
    const claim = `${claimRef.namespace ?? ''}/${claimRef.name ?? ''}`;
    this.#claimOf.set(name, claim);
    const names = this.#byClaim.get(claim) ?? new Set();
    this.#byClaim.set(claim, names.add(name));
  }

  free(): Iterable<string> {
    return this.#free;
  }

  /** Names of the PVs whose claimRef has this name, whatever its uid. */
  reservedFor(claim: { readonly namespace?: string; readonly name: string }): Iterable<string> {
    return this.#byClaim.get(`${claim.namespace ?? ''}/${claim.name}`) ?? [];
  }

  #forget(name: string): void {
    this.#free.delete(name);
    const claim = this.#claimOf.get(name);
    if (claim === undefined) return;
    this.#claimOf.delete(name);
    const names = this.#byClaim.get(claim);
    names?.delete(name);
    if (names?.size === 0) this.#byClaim.delete(claim);
  }
}
