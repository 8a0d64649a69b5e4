/** Enough for every object that can vanish while a write's answer is on its way. */
const mostRemembered = 4096;

/** The resourceVersions at which objects were seen gone, the latest few thousand of them. */
export class Tombstones {
  readonly #versions = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#versions.get(key);
  }

  set(key: string, version: string): void {
    // taken out first, so that the map's order stays the order of removal
    this.#versions.delete(key);
    this.#versions.set(key, version);
    if (this.#versions.size <= mostRemembered) return;
    for (const oldest of this.#versions.keys()) {
      this.#versions.delete(oldest);
      return;
    }
  }

  delete(key: string): void {
    this.#versions.delete(key);
  }
}
