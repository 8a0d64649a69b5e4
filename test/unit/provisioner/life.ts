/** One process's life: after `steps` calls have gone out it is dead, and nothing that it still does reaches anyone. */
export class Life {
  #left: number;
  readonly #diesAfterEffect: boolean;
  isOver = false;

  constructor(steps: number, diesAfterEffect: boolean) {
    this.#left = steps;
    this.#diesAfterEffect = diesAfterEffect;
  }

  /** The same object, whose calls count as steps of this life. */
  wrap<T extends object>(target: T, steps: readonly string[]): T {
    return new Proxy(target, {
      get: (object, key) => {
        const member: unknown = Reflect.get(object, key, object);
        if (typeof member !== 'function') return member;
        const call = member.bind(object) as (...parts: unknown[]) => unknown;
        return steps.includes(String(key)) ? (...parts: unknown[]) => this.#step(() => call(...parts)) : call;
      },
    });
  }

  async #step(run: () => unknown): Promise<unknown> {
    if (this.isOver) return new Promise(() => {});
    if (this.#left > 0) {
      this.#left -= 1;
      return run();
    }
    this.isOver = true;
    if (this.#diesAfterEffect) void Promise.resolve(run()).catch(() => {});
    return new Promise(() => {});
  }
}
