import { join } from 'node:path';
import { settings } from '../config/settings.ts';
import { OperatorClient } from '../operator/operator-client.ts';
import { operatorSocketName } from '../operator/socket-name.ts';

/** The flags that say where the node's process is. */
export const socketOptions = { 'run-dir': { type: 'string' } } as const;

export const socketHelp = `  --run-dir PATH   of the node's process (default: ${settings.runDir.env}, then ${settings.runDir.fallback ?? ''})`;

/** The node's process, by the flag, the environment or the default, as it itself finds its run directory. */
export function operatorAt(values: { readonly 'run-dir'?: string | undefined }): OperatorClient {
  const runDir = values['run-dir'] ?? process.env[settings.runDir.env] ?? settings.runDir.fallback ?? '';
  return new OperatorClient(join(runDir, operatorSocketName));
}
