import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import { find } from './found-volume.ts';
import { runInlinePod } from './inline-pod.ts';
import { letGo } from './let-go.ts';
import { adopt, orphan } from './orphan-actors.ts';
import { thinkAgain } from './second-thoughts.ts';
import { type ClassKind, classKinds, type KeptSnapshot, type KeptVolume } from './kept-volume.ts';
import type { Lots } from './lots.ts';
import { removeSnapshot, takeSnapshot } from './snapshot-actors.ts';

const mostVolumes = 3;
const mostSnapshots = 2;
const largestMiB = 40;

/** One user of the cluster, who does one thing after another to volumes of his own. What he does follows from the lots alone. */
export class History {
  operations = 0;
  /** for the message of a failure */
  readonly said: string[] = [];
  readonly #world: FaultWorld;
  readonly #actors: ClusterActors;
  readonly #lots: Lots;
  /** what only one user may do at a time */
  readonly #isAlone: boolean;
  readonly #volumes: KeptVolume[] = [];
  readonly #snapshots: KeptSnapshot[] = [];
  /** given back, and neither destroyed nor put away */
  readonly #released: KeptVolume[] = [];

  constructor(world: FaultWorld, actors: ClusterActors, lots: Lots, isAlone: boolean) {
    this.#world = world;
    this.#actors = actors;
    this.#isAlone = isAlone;
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
      // the one backend that has raw block volumes
      const isBlock = this.#world.backend === 'loopback' && lots.isSo(0.3);
      const what = `create ${kind}${isBlock ? ' block' : ''}`;
      return { what, work: () => this.#make(kind, undefined, isBlock) };
    }
    if (this.#released.length > 0 && volumes.length < mostVolumes && lots.isSo(0.3)) {
      const kept = lots.oneOf(this.#released);
      return { what: `${kept.kind} ${kept.volume.metadata.name} again`, work: () => this.#again(kept) };
    }
    if (lots.isSo(0.06)) return { what: 'inline pod', work: () => runInlinePod(this.#world) };
    if (this.#isAlone && volumes.length < mostVolumes && lots.isSo(0.03))
      return { what: 'find', work: async () => volumes.push(await find(this.#world, actors)) };
    const kept = lots.oneOf(volumes);
    const { name } = kept.claim.metadata;
    if (endsByItself(kept) && lots.isSo(0.12)) return this.#end(kept);
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
    // what was found is of the directory backend, whatever the classes of the others say
    const isOfClass = kept.isFound !== true;
    if (choice === 5 && isOfClass && snapshots.length < mostSnapshots)
      return {
        what: `snapshot ${name}`,
        work: async () => snapshots.push(await takeSnapshot(this.#world, actors, kept)),
      };
    if (choice <= 7 && isOfClass && volumes.length < mostVolumes) {
      const source = snapshots.length > 0 && lots.isSo(0.6) ? lots.oneOf(snapshots) : kept;
      return { what: `copy for ${name}`, work: () => this.#make('delete', source) };
    }
    if (choice === 8 && snapshots.length > 0) {
      const snapshot = snapshots.shift();
      if (snapshot !== undefined)
        return { what: 'remove snapshot', work: () => removeSnapshot(this.#world, actors, snapshot) };
    }
    if (choice <= 10) return { what: `remove ${name}`, work: () => this.#remove(kept) };
    if (kept.pod === undefined) return { what: `open ${name}`, work: () => actors.open(kept) };
    return { what: `close ${name}`, work: () => actors.close(kept) };
  }

  /** Not as people usually end a volume. */
  #end(kept: KeptVolume): { readonly what: string; readonly work: () => Promise<unknown> } {
    const { name } = kept.claim.metadata;
    this.#volumes.splice(this.#volumes.indexOf(kept), 1);
    if (this.#isAlone && this.#lots.isSo(0.3))
      return { what: `let ${name} go`, work: () => letGo(this.#world, this.#actors, kept) };
    const afterMs = this.#lots.between(0, 300);
    return {
      what: `remove ${name}, and think again after ${afterMs} ms`,
      work: async () => {
        const again = await thinkAgain(this.#world, this.#actors, kept, afterMs);
        if (again !== undefined) this.#volumes.push(again);
      },
    };
  }

  async #make(kind: ClassKind, source?: KeptVolume | KeptSnapshot, isBlock?: boolean): Promise<void> {
    this.#volumes.push(await this.#actors.create(kind, source, isBlock));
  }

  async #remove(kept: KeptVolume): Promise<void> {
    this.#volumes.splice(this.#volumes.indexOf(kept), 1);
    await this.#actors.remove(kept);
    if (kept.kind === 'recycle' || kept.kind.startsWith('retain')) this.#released.push(kept);
    if (kept.kind === 'retain' && this.#lots.isSo(0.5)) await orphan(this.#world, this.#actors, kept);
  }

  async #again(kept: KeptVolume): Promise<void> {
    this.#released.splice(this.#released.indexOf(kept), 1);
    const actors = this.#actors;
    const again = actors.orphans.has(kept)
      ? adopt(this.#world, actors, kept)
      : kept.kind === 'recycle'
        ? actors.reuse(kept)
        : actors.undelete(kept);
    this.#volumes.push(await again);
  }
}

/** Nothing keeps it once its claim is gone. */
function endsByItself({ kind, volume }: KeptVolume): boolean {
  const { persistentVolumeReclaimPolicy } = volume.spec;
  return (kind === 'delete' || kind === 'scrub') && persistentVolumeReclaimPolicy === 'Delete';
}
