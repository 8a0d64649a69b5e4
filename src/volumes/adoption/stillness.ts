import type { Directory } from '../../host/directory.ts';
import { newestChange } from '../../host/newest-change.ts';
import type { Clock } from '../../model/clock.ts';

/** More than that is looked at less often: a look costs some 30 microseconds for each entry. */
const largeEntries = 10_000;
const largeEveryMs = 60_000;
/** Of a tree that has more, the rest is not seen: whoever fills it gives it its name last. */
const mostEntries = 100_000;

/**
 * When folders that people fill were last changed, anywhere in them: a copy goes on deep below, while the folder itself has been as it is
 * since its first second.
 */
export class Stillness {
  readonly #clock: Clock;
  /** path → when a large tree was last looked at */
  readonly #lookedAtMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Never in the future; now, where nobody has looked lately. */
  async changedAtMs(folder: Directory, name: string): Promise<number> {
    const path = folder.pathOf(name);
    const nowMs = this.#clock.nowMs();
    const lookedAtMs = this.#lookedAtMs.get(path);
    if (lookedAtMs !== undefined && nowMs - lookedAtMs < largeEveryMs) return nowMs;
    const { changedAtMs, entries } = await newestChange(folder, name, mostEntries);
    if (entries > largeEntries) this.#lookedAtMs.set(path, nowMs);
    else this.#lookedAtMs.delete(path);
    return Math.min(changedAtMs, nowMs);
  }

  /** Forgets what is not there any more. */
  keepOnly(paths: ReadonlySet<string>): void {
    for (const path of this.#lookedAtMs.keys()) if (!paths.has(path)) this.#lookedAtMs.delete(path);
  }
}
