import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { runProcess } from './run-process.ts';
import { startPlacement } from './start-placement.ts';

/**
 * The Deployment's whole process: what needs the view of the whole cluster, in one of its replicas at a time. Resolves when everything
 * is closed, after the signal has aborted. It touches no disk and needs no privilege.
 *
 * @throws ConfigError without an API server
 */
export async function runController(config: Config, signal: AbortSignal): Promise<void> {
  if (config.kube === undefined)
    throw new ConfigError('--kube is false; the controller has nothing to do without an API server');
  await runProcess(config, {}, signal, ({ context, metrics, checks, closers }) => {
    metrics.onCollect(startPlacement(config, context, checks, closers));
  });
}
