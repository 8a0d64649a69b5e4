import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { MetricsRegistry } from './metrics.ts';

const nanosecondsPerSecond = 1e9;

/** The process's own memory and the longest wait of its event loop since the last scrape, by the names that Node dashboards know. */
export function watchProcess(metrics: MetricsRegistry): void {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  metrics.onCollect(() => {
    const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
    metrics.gauge('process_resident_memory_bytes', {}, rss);
    metrics.gauge('nodejs_heap_size_used_bytes', {}, heapUsed);
    metrics.gauge('nodejs_heap_size_total_bytes', {}, heapTotal);
    metrics.gauge('nodejs_external_memory_bytes', {}, external);
    metrics.gauge('nodejs_eventloop_lag_max_seconds', {}, delay.max / nanosecondsPerSecond);
    delay.reset();
  });
}
