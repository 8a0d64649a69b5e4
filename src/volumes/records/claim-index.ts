import type { VolumeId } from '../../model/volume-id.ts';
import type { VolumeRecord } from './record.ts';

/** Which volumes of a pool were made for a claim of some name: asked for each claim that waits, where thousands are held. */
export class ClaimIndex {
  readonly #ids = new Map<string, Set<VolumeId>>();

  add({ claim, spec }: VolumeRecord): void {
    if (claim === undefined) return;
    const key = keyOf(claim);
    const ids = this.#ids.get(key);
    if (ids === undefined) this.#ids.set(key, new Set([spec.id]));
    else ids.add(spec.id);
  }

  remove({ claim, spec }: VolumeRecord): void {
    if (claim === undefined) return;
    const key = keyOf(claim);
    const ids = this.#ids.get(key);
    ids?.delete(spec.id);
    if (ids?.size === 0) this.#ids.delete(key);
  }

  /** Of whatever uid. */
  idsFor(claim: { readonly namespace: string; readonly name: string }): readonly VolumeId[] {
    return [...(this.#ids.get(keyOf(claim)) ?? [])];
  }
}

/** Neither has a slash in it. */
function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}
