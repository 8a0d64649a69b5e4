import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterActors } from './cluster-actors.ts';
import { type ClassKind, classKinds, type KeptSnapshot, type KeptVolume } from './kept-volume.ts';
import type { Lots } from './lots.ts';

const mostVolumes = 3;
const mostSnapshots = 2;
const largestMiB = 40;

/** One user of the cluster, who does one thing after another to volumes of his own. What he does follows from the lots alone. */
export class History {
  operations = 0;
  /** for the message of a failure */
  readonly said: string[] = [];
  readonly #actors: ClusterActors;
  readonly #lots: Lots;
  readonly #volumes: KeptVolume[] = [];
  readonly #snapshots: KeptSnapshot[] = [];
  /** given back, and neither destroyed nor put away */
  readonly #released: KeptVolume[] = [];

  constructor(actors: ClusterActors, lots: Lots) {
    this.#actors = actors;
    this.#lots = lots;
  }

  async run(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn += 1) {
      const { what, work } = this.#next();
      this.said.push(what);
      await work();
      this.operations += 1;
      await sleep(this.#lots.between(0, 50));
    }
  }

  #next(): { readonly what: string; readonly work: () => Promise<unknown> } {
    const lots = this.#lots;
    const actors = this.#actors;
    const [volumes, snapshots] = [this.#volumes, this.#snapshots];
    if (lots.isSo(0.1)) {
      const kind = lots.oneOf(['delete', 'scrub'] as const);
      return { what: `create ${kind} and delete at once`, work: () => actors.changeMind(kind) };
    }
    if (volumes.length === 0 || (volumes.length < mostVolumes && lots.isSo(0.2))) {
      const kind = lots.oneOf(classKinds);
      return { what: `create ${kind}`, work: () => this.#make(kind) };
    }
    if (this.#released.length > 0 && volumes.length < mostVolumes && lots.isSo(0.3)) {
      const kept = lots.oneOf(this.#released);
      return { what: `${kept.kind} ${kept.volume.metadata.name} again`, work: () => this.#again(kept) };
    }
    const kept = lots.oneOf(volumes);
    const { name } = kept.claim.metadata;
    if (kept.pod === undefined && lots.isSo(0.6))
      return { what: `open ${name}`, work: () => actors.open(kept) };
    const choice = lots.between(1, 12);
    if (choice <= 3 && kept.pod !== undefined)
      return {
        what: `write ${name}`,
        work: () => actors.write(kept, Buffer.alloc(lots.between(1, 300_000), name)),
      };
    if (choice === 4 && kept.pod !== undefined && kept.sizeMiB + 8 <= largestMiB)
      return { what: `grow ${name}`, work: () => actors.grow(kept, kept.sizeMiB + 8) };
    if (choice === 5 && snapshots.length < mostSnapshots)
      return { what: `snapshot ${name}`, work: async () => snapshots.push(await actors.snapshot(kept)) };
    if (choice <= 7 && volumes.length < mostVolumes) {
      const source = snapshots.length > 0 && lots.isSo(0.6) ? lots.oneOf(snapshots) : kept;
      return { what: `copy for ${name}`, work: () => this.#make('delete', source) };
    }
    if (choice === 8 && snapshots.length > 0) {
      const snapshot = snapshots.shift();
      if (snapshot !== undefined)
        return { what: 'remove snapshot', work: () => actors.removeSnapshot(snapshot) };
    }
    if (choice <= 10) return { what: `remove ${name}`, work: () => this.#remove(kept) };
    if (kept.pod === undefined) return { what: `open ${name}`, work: () => actors.open(kept) };
    return { what: `close ${name}`, work: () => actors.close(kept) };
  }

  async #make(kind: ClassKind, source?: KeptVolume | KeptSnapshot): Promise<void> {
    this.#volumes.push(await this.#actors.create(kind, source));
  }

  async #remove(kept: KeptVolume): Promise<void> {
    this.#volumes.splice(this.#volumes.indexOf(kept), 1);
    await this.#actors.remove(kept);
    if (kept.kind === 'recycle' || kept.kind.startsWith('retain')) this.#released.push(kept);
  }

  async #again(kept: KeptVolume): Promise<void> {
    this.#released.splice(this.#released.indexOf(kept), 1);
    this.#volumes.push(
      await (kept.kind === 'recycle' ? this.#actors.reuse(kept) : this.#actors.undelete(kept)),
    );
  }
}
