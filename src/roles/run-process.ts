import type { Config } from '../config/config.ts';
import { systemClock } from '../model/system-clock.ts';
import { createLog } from '../observe/log.ts';
import { MetricsRegistry } from '../observe/metrics.ts';
import { watchProcess } from '../observe/process-metrics.ts';
import { type Check, startStatusServer } from '../observe/status-server.ts';
import { Closers } from './closers.ts';
import { untilAborted } from './until-aborted.ts';
import { version } from './version.ts';
import type { ProcessContext } from './volume-stack.ts';

/** What a role is given to add its parts to. */
export interface Process {
  readonly context: ProcessContext;
  readonly metrics: MetricsRegistry;
  readonly checks: Check[];
  readonly closers: Closers;
}

/**
 * What every role has: log, metrics, and the status server first of all, so that probes can say what the rest is waiting for. Resolves
 * when everything is closed, after the signal has aborted.
 *
 * @param names on every log line
 */
export async function runProcess(
  config: Pick<Config, 'logLevel' | 'observeAddress'>,
  names: object,
  signal: AbortSignal,
  start: (process: Process) => Promise<void> | void,
): Promise<void> {
  const log = createLog(config.logLevel, names);
  const metrics = new MetricsRegistry();
  metrics.gauge('loam_build_info', { version }, 1);
  watchProcess(metrics);
  const checks: Check[] = [];
  const closers = new Closers(log);
  try {
    if (config.observeAddress !== undefined) {
      const status = await startStatusServer(config.observeAddress, checks, () => metrics.expose());
      closers.add('status server', () => status.close());
      log.info({ address: status.address }, 'serving /metrics, /healthz and /readyz');
    }
    await start({ context: { clock: systemClock, log, metrics, signal }, metrics, checks, closers });
    await untilAborted(signal);
    log.info({}, 'shutting down');
  } finally {
    await closers.close();
  }
}
