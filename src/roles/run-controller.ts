import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { systemClock } from '../model/system-clock.ts';
import { createLog } from '../observe/log.ts';
import { MetricsRegistry } from '../observe/metrics.ts';
import { watchProcess } from '../observe/process-metrics.ts';
import { type Check, startStatusServer } from '../observe/status-server.ts';
import { Closers } from './closers.ts';
import { startPlacement } from './start-placement.ts';
import { untilAborted } from './until-aborted.ts';
import { version } from './version.ts';
import type { ProcessContext } from './volume-stack.ts';

/**
 * The Deployment's whole process: what needs the view of the whole cluster, in one of its replicas at a time. Resolves when everything
 * is closed, after the signal has aborted. It touches no disk and needs no privilege.
 *
 * @throws ConfigError without an API server
 */
export async function runController(config: Config, signal: AbortSignal): Promise<void> {
  if (config.kube === undefined)
    throw new ConfigError('--kube is false; the controller has nothing to do without an API server');
  const log = createLog(config.logLevel, {});
  const metrics = new MetricsRegistry();
  metrics.gauge('loam_build_info', { version }, 1);
  watchProcess(metrics);
  const context: ProcessContext = { clock: systemClock, log, metrics, signal };
  const checks: Check[] = [];
  const closers = new Closers(log);
  try {
    if (config.observeAddress !== undefined) {
      const status = await startStatusServer(config.observeAddress, checks, () => metrics.expose());
      closers.add('status server', () => status.close());
      log.info({ address: status.address }, 'serving /metrics, /healthz and /readyz');
    }
    metrics.onCollect(startPlacement(config, context, checks, closers));
    await untilAborted(signal);
    log.info({}, 'shutting down');
  } finally {
    await closers.close();
  }
}
