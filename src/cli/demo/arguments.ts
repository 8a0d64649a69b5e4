import { parseArgs } from 'node:util';

export interface DemoArguments {
  /** tells the story, checks it and ends */
  readonly check: boolean;
  readonly port: number;
  readonly parentPath: string;
  readonly verbose: boolean;
  readonly help: boolean;
}

export const demoUsage = `loam demo [--check] [--port N] [--dir PATH] [--verbose]

Runs Loam on an embedded control plane, on real files, and shows what happens to a claim from its
creation until its bytes are scrubbed. It needs mount namespaces: start it with scripts/demo.

  --check      tell the story, check every step, exit 0 or 1; without it the control plane
               stays up for your own kubectl afterwards
  --port N     port of the embedded API on 127.0.0.1 (default: any free one)
  --dir PATH   where the demo's folder is made and removed again (default: the folder for temporary files)
  --verbose    the logs of all parts on standard error`;

/** @throws TypeError that says what is wrong with the command line */
export function parseDemoArguments(argv: readonly string[], temporaryPath: string): DemoArguments {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      check: { type: 'boolean', default: false },
      port: { type: 'string', default: '0' },
      dir: { type: 'string', default: temporaryPath },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const port = /^\d{1,5}$/.test(values.port) ? Number(values.port) : Number.NaN;
  if (!(port <= 65_535)) throw new TypeError(`--port ${values.port}: it takes a number from 0 to 65535`);
  return { check: values.check, port, parentPath: values.dir, verbose: values.verbose, help: values.help };
}
