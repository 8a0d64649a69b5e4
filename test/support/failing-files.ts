import { constants } from 'node:fs';
import type promises from 'node:fs/promises';

/** Which steps fail, counted from 1 from the plan on. */
export interface FailurePlan {
  readonly from: number;
  /** how many in a row */
  readonly count: number;
  /** whether each was done all the same */
  readonly isDone: boolean;
  readonly code: 'EIO' | 'ENOSPC';
}

type Files = typeof promises;
type Call = (this: unknown, ...args: unknown[]) => Promise<unknown>;

const changing = ['rename', 'mkdir', 'unlink', 'rmdir', 'rm', 'symlink', 'chmod', 'writeFile', 'cp'] as const;
const changingByHandle = ['sync', 'writeFile', 'write', 'chmod', 'truncate'] as const;

/** Every step that changes a file system, for a test that has some of them fail. One per test file, which mocks `node:fs/promises`. */
export class FailingFiles {
  steps = 0;
  #plan: FailurePlan | undefined;

  /** From now on, until `heal`. */
  fail(plan: FailurePlan): void {
    this.steps = 0;
    this.#plan = plan;
  }

  heal(): void {
    this.#plan = undefined;
  }

  /** The module with these steps in its functions' place; the methods of its file handles are changed where they are. */
  async interpose(real: Files): Promise<Files> {
    const functions = real as unknown as Record<string, Call>;
    const changed = Object.fromEntries(changing.map((name) => [name, this.#step(functions[name])]));
    const openFile: Call = async (...args) => {
      const flags = typeof args[1] === 'number' ? args[1] : 0;
      const opening: Call = (...given) => (real.open as unknown as Call)(...given);
      return (flags & (constants.O_CREAT | constants.O_TRUNC)) === 0
        ? opening(...args)
        : this.#step(opening, async (file) => (file as promises.FileHandle).close())(...args);
    };
    const handle = await real.open('/dev/null');
    const methods = Object.getPrototypeOf(handle) as Record<string, Call>;
    await handle.close();
    for (const name of changingByHandle) methods[name] = this.#step(methods[name]);
    return { ...real, ...changed, open: openFile } as Files;
  }

  #step(real: Call | undefined, undo?: (result: unknown) => Promise<void>): Call {
    if (real === undefined) throw new Error('this Node has no such function');
    const fails = (): FailurePlan | undefined => this.#next();
    return async function (...args) {
      const plan = fails();
      if (plan === undefined) return real.apply(this, args);
      if (plan.isDone) {
        const result = await real.apply(this, args);
        await undo?.(result);
      }
      throw Object.assign(new Error(`${plan.code}: as told`), { code: plan.code });
    };
  }

  #next(): FailurePlan | undefined {
    const plan = this.#plan;
    if (plan === undefined) return undefined;
    this.steps += 1;
    return this.steps >= plan.from && this.steps < plan.from + plan.count ? plan : undefined;
  }
}
