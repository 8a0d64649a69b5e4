import { parseArgs, type ParseArgsConfig } from 'node:util';
import { messageOf } from '../model/errors.ts';
import { shownText } from '../model/told-text.ts';

/** Where a command writes; stdout is what a next program may read, stderr what people are told. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** Whatever a disk, the API or a command line has put into a text, it moves no cursor. */
export const terminal: Terminal = {
  out: (text) => console.log(shownText(text)),
  err: (text) => console.error(shownText(text)),
};

/** What is wrong with a command line; the exit code is 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** Failures that are told as a sentence, without where in the program they arose. */
const told = new Set([
  'OperatorRefusal',
  'ApiError',
  'ApiUnreachable',
  'KubeAccessError',
  'StorageError',
  'CsiError',
]);

export type Options = NonNullable<ParseArgsConfig['options']>;
/** A command line as a command's options read it. */
export type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O; allowPositionals: true; strict: true }>
>;
/** The flags of a command line, as a command's options name them. */
export type ValuesOf<O extends Options> = Parsed<O>['values'];

export interface Command<O extends Options> {
  readonly name: string;
  readonly usage: string;
  readonly options: O;
}

/**
 * Runs a command: `--help` prints its usage, a wrong command line is told with it.
 *
 * @returns the exit code: what the work says, 1 where it failed, 2 for a wrong command line
 */
export async function runCommand<O extends Options>(
  command: Command<O>,
  argv: readonly string[],
  { out, err }: Terminal,
  work: (parsed: Parsed<O>) => Promise<number>,
): Promise<number> {
  const { name, usage, options } = command;
  if (argv.includes('--help') || argv.includes('-h')) {
    out(usage);
    return 0;
  }
  try {
    let parsed;
    try {
      parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
    } catch (error) {
      throw new UsageError(messageOf(error));
    }
    return await work(parsed);
  } catch (error) {
    if (error instanceof UsageError) {
      err(`loam ${name}: ${error.message}\n\n${usage}`);
      return 2;
    }
    if (!(error instanceof Error) || !told.has(error.name)) throw error;
    err(`loam ${name}: ${error.message}`);
    return 1;
  }
}

/** The one positional argument. @throws UsageError */
export function onlyArgument(positionals: readonly string[], what: string): string {
  const [argument, surplus] = positionals;
  if (argument === undefined) throw new UsageError(`name the ${what}`);
  if (surplus !== undefined) throw new UsageError(`one ${what} at a time; ${surplus} is too much`);
  return argument;
}

/** @throws UsageError where a command that takes none is given arguments */
export function noArguments(positionals: readonly string[]): void {
  if (positionals[0] !== undefined) throw new UsageError(`it takes no argument; ${positionals[0]} is one`);
}
