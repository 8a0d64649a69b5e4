import { describe, expect, it } from 'vitest';
import { MetricsRegistry } from '../../../src/observe/metrics.ts';

describe('metrics', () => {
  it('come out in the text form of Prometheus, with labels in order and escaped', () => {
    const metrics = new MetricsRegistry();
    metrics.count('loam_things_total', { b: 'x"y\\', a: 'line\nbreak' });
    metrics.count('loam_things_total', { a: 'line\nbreak', b: 'x"y\\' }, 2);
    metrics.gauge('loam_level', {}, 7);
    expect(metrics.expose()).toContain(
      '# TYPE loam_things_total counter\nloam_things_total{a="line\\nbreak",b="x\\"y\\\\"} 3\n',
    );
    expect(metrics.expose()).toContain('# TYPE loam_level gauge\nloam_level 7\n');
  });

  it('count a duration in every bucket that it fits, as a histogram has to', () => {
    const metrics = new MetricsRegistry();
    metrics.observeSeconds('csi_sidecar_operations_seconds', { method_name: 'M' }, 0.3);
    metrics.observeSeconds('csi_sidecar_operations_seconds', { method_name: 'M' }, 900);
    const text = metrics.expose();
    expect(text).toContain('csi_sidecar_operations_seconds_bucket{method_name="M",le="0.25"} 0');
    expect(text).toContain('csi_sidecar_operations_seconds_bucket{method_name="M",le="0.5"} 1');
    expect(text).toContain('csi_sidecar_operations_seconds_bucket{method_name="M",le="600"} 1');
    expect(text).toContain('csi_sidecar_operations_seconds_bucket{method_name="M",le="+Inf"} 2');
    expect(text).toContain('csi_sidecar_operations_seconds_count{method_name="M"} 2');
  });

  it('refuse one name for two kinds', () => {
    const metrics = new MetricsRegistry();
    metrics.gauge('loam_level', {}, 1);
    expect(() => metrics.count('loam_level', {})).toThrow(/is a gauge/);
  });
});
