/** Numbers drawn by lot that are the same for the same seed. */
export class Lots {
  #state: number;

  constructor(seed: number) {
    // seeds that lie side by side would begin alike
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0 || 1;
    for (let turn = 0; turn < 8; turn += 1) this.share();
  }

  /** from 0 to below 1 */
  share(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) / 2 ** 32;
  }

  /** a whole number from `from` to `to`, both included */
  between(from: number, to: number): number {
    return from + Math.floor(this.share() * (to - from + 1));
  }

  isSo(probability: number): boolean {
    return this.share() < probability;
  }

  oneOf<T>(all: readonly T[]): T {
    const found = all[this.between(0, all.length - 1)];
    if (found === undefined) throw new RangeError('nothing to draw from');
    return found;
  }
}
