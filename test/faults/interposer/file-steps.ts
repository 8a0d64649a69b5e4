import { appendFileSync, constants, readFileSync, readlinkSync } from 'node:fs';
import promises, { type FileHandle } from 'node:fs/promises';
import type { DiskFaults } from './plan.ts';
import type { Steps } from './steps.ts';

/** Everything of node:fs/promises that changes a file system; `open` does where it may make or empty a file. */
export const changing = [
  'rename',
  'mkdir',
  'mkdtemp',
  'unlink',
  'rmdir',
  'rm',
  'symlink',
  'link',
  'chmod',
  'chown',
  'lchown',
  'utimes',
  'lutimes',
  'copyFile',
  'cp',
  'truncate',
  'writeFile',
  'appendFile',
] as const;
export const changingByHandle = [
  'write',
  'writev',
  'writeFile',
  'appendFile',
  'truncate',
  'sync',
  'datasync',
  'chmod',
  'chown',
  'utimes',
] as const;

const twoPaths = new Set(['rename', 'link', 'symlink', 'copyFile', 'cp']);

/** what of them can find the disk full */
const taking = new Set(['mkdir', 'symlink', 'link', 'copyFile', 'writeFile', 'write', 'open', 'rename']);

type Call = (this: unknown, ...args: unknown[]) => Promise<unknown>;

/** Puts itself before the functions that change the file system. */
export async function interposeFiles(steps: Steps, faultsPath: string | undefined): Promise<void> {
  const faults = new Failures(faultsPath);
  const wrap = (name: string, real: Call, isStep: (args: readonly unknown[]) => boolean): Call => {
    return async function (...args) {
      if (!isStep(args)) return real.apply(this, args);
      const step = steps.begin(`file ${name} ${placeOf(this, args.slice(0, twoPaths.has(name) ? 2 : 1))}`);
      const failure = faults.next(name);
      if (failure !== undefined && !failure.isDone) throw failure.error;
      const result = await real.apply(this, args);
      steps.end(step);
      if (failure === undefined) return result;
      await (result as Partial<FileHandle> | undefined)?.close?.();
      throw failure.error;
    };
  };
  const functions = promises as unknown as Record<string, Call>;
  for (const name of changing) functions[name] = wrap(name, call(functions, name), () => true);
  const handle = await promises.open('/dev/null');
  const methods = Object.getPrototypeOf(handle) as Record<string, Call>;
  await handle.close();
  for (const name of changingByHandle) methods[name] = wrap(name, call(methods, name), () => true);
  functions['open'] = wrap('open', call(functions, 'open'), ([, flags]) => makesFile(flags));
}

function call(of: Record<string, Call>, name: string): Call {
  const found = of[name];
  if (found === undefined) throw new Error(`this Node has no ${name}`);
  return found;
}

function makesFile(flags: unknown): boolean {
  if (typeof flags === 'string') return /[wa]/.test(flags);
  return typeof flags === 'number' && (flags & (constants.O_CREAT | constants.O_TRUNC)) !== 0;
}

/** For people who read where a process died. */
function placeOf(self: unknown, args: readonly unknown[]): string {
  const own =
    typeof self === 'object' && self !== null && 'fd' in self ? [`/proc/self/fd/${String(self.fd)}`] : [];
  const named = args.filter((arg) => typeof arg === 'string' || Buffer.isBuffer(arg)).map(String);
  return (own.length > 0 ? own : named).map(resolved).join(' -> ');
}

function resolved(path: string): string {
  return path.replace(/^\/proc\/self\/fd\/\d+/, (link) => {
    try {
      return readlinkSync(link);
    } catch {
      return link;
    }
  });
}

interface Failure {
  readonly error: Error;
  /** whether it comes after the step was done all the same */
  readonly isDone: boolean;
}

/** Which steps fail is drawn by lot from a seed. */
class Failures {
  readonly #path: string | undefined;
  #state = 0;

  constructor(path: string | undefined) {
    this.#path = path;
  }

  next(name: string): Failure | undefined {
    const faults = this.#read();
    if (faults === undefined) return undefined;
    if (this.#state === 0) this.#state = (faults.seed ^ process.pid) >>> 0 || 1;
    if (this.#lot() >= faults.share) return undefined;
    const isFull = taking.has(name) && this.#lot() < 0.5;
    const [code, errno, text] = isFull
      ? (['ENOSPC', -28, 'no space left on device'] as const)
      : (['EIO', -5, 'i/o error'] as const);
    appendFileSync(`${this.#path}.met`, `${code} ${name}\n`);
    const error = Object.assign(new Error(`${code}: ${text}, ${name} (as told)`), {
      code,
      errno,
      syscall: name,
    });
    return { error, isDone: !isFull && this.#lot() < 0.5 };
  }

  #read(): DiskFaults | undefined {
    if (this.#path === undefined) return undefined;
    try {
      return JSON.parse(readFileSync(this.#path, 'utf8')) as DiskFaults;
    } catch {
      return undefined;
    }
  }

  /** xorshift: from 0 to below 1 */
  #lot(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) / 2 ** 32;
  }
}
