import { UsageError, type Terminal } from './run-command.ts';

export const outputOption = { output: { type: 'string' } } as const;

/**
 * How a report is printed: for people, unless `--output json` asks for it as it is.
 *
 * @throws UsageError for any other form
 */
export function printerOf(
  { output = 'table' }: { readonly output?: string | undefined },
  { out }: Terminal,
): <T extends object>(report: T, render: (report: T) => string) => void {
  if (output === 'table') return (report, render) => out(render(report));
  if (output === 'json') return (report) => out(JSON.stringify(report, undefined, 2));
  throw new UsageError(`--output ${output}: it can be table or json`);
}
