import { join } from 'node:path';
import { settings } from '../config/settings.ts';
import { OperatorClient } from '../operator/operator-client.ts';
import { operatorSocketName } from '../operator/socket-name.ts';
import { runCommand, type Command, type Options, type Parsed, type Terminal } from './run-command.ts';

/** Says where the node's process is. */
const socketOptions = { 'run-dir': { type: 'string' } } as const;
const { env, fallback = '' } = settings.runDir;
const socketHelp = `  --run-dir PATH   of the node's process (default: ${env}, then ${fallback})`;

/** As `runCommand`, for a command that asks the process of the node where it runs; `--run-dir` and its help are added to its own. */
export function runNodeCommand<O extends Options>(
  command: Command<O>,
  argv: readonly string[],
  to: Terminal,
  work: (parsed: Parsed<O>, node: OperatorClient) => Promise<number>,
): Promise<number> {
  const { name, usage } = command;
  const options = { ...command.options, ...socketOptions };
  return runCommand({ name, usage: `${usage}\n${socketHelp}`, options }, argv, to, (parsed) => {
    // the compiler cannot follow parseArgs into options that it does not know all of
    const { 'run-dir': runDir } = parsed.values as { readonly 'run-dir'?: string };
    return work(parsed, operatorAt(runDir));
  });
}

/** By the flag, the environment or the default, as the process itself finds its run directory. */
function operatorAt(runDir = process.env[env] ?? fallback): OperatorClient {
  return new OperatorClient(join(runDir, operatorSocketName));
}
