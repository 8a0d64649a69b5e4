import type { Labels, Metrics } from '../model/metrics.ts';
import { metricHelp } from './metric-help.ts';

/** Upper bounds in seconds, as csi-lib-utils has them: dashboards for the sidecars keep working. */
const operationBuckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];
/** Finer ones for what takes milliseconds here. */
const quickBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];

interface Histogram {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum: number;
  count: number;
}
type Kind = 'counter' | 'gauge' | 'histogram';
interface Family {
  readonly kind: Kind;
  readonly series: Map<string, number | Histogram>;
}

/** Numbers in memory, written out in Prometheus' text form. Registered by first use; one name has one kind. */
export class MetricsRegistry implements Metrics {
  readonly #families = new Map<string, Family>();
  readonly #collectors: (() => void)[] = [];

  count(name: string, labels: Labels, by = 1): void {
    const { series } = this.#family(name, 'counter');
    const key = labelText(labels);
    series.set(key, numberAt(series, key) + by);
  }

  gauge(name: string, labels: Labels, value: number): void {
    this.#family(name, 'gauge').series.set(labelText(labels), value);
  }

  observeSeconds(name: string, labels: Labels, seconds: number): void {
    const { series } = this.#family(name, 'histogram');
    const key = labelText(labels);
    const known = series.get(key);
    const histogram = typeof known === 'object' ? known : emptyHistogram(name);
    series.set(key, histogram);
    const bucket = histogram.bounds.findIndex((bound) => seconds <= bound);
    if (bucket >= 0) histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + 1;
    histogram.sum += seconds;
    histogram.count += 1;
  }

  /** Called before each scrape, to set gauges that are only worth computing then. */
  onCollect(collector: () => void): void {
    this.#collectors.push(collector);
  }

  /** The text exposition format, version 0.0.4. */
  expose(): string {
    for (const collect of this.#collectors) collect();
    const lines: string[] = [];
    for (const [name, { kind, series }] of [...this.#families].toSorted(([a], [b]) => a.localeCompare(b))) {
      lines.push(`# HELP ${name} ${metricHelp[name] ?? name.replaceAll('_', ' ')}`, `# TYPE ${name} ${kind}`);
      for (const [labels, value] of series) {
        if (typeof value === 'number') lines.push(`${name}${braced(labels)} ${value}`);
        else lines.push(...histogramLines(name, labels, value));
      }
    }
    return `${lines.join('\n')}\n`;
  }

  #family(name: string, kind: Kind): Family {
    const known = this.#families.get(name);
    if (known === undefined) {
      const family: Family = { kind, series: new Map() };
      this.#families.set(name, family);
      return family;
    }
    if (known.kind !== kind) throw new TypeError(`metric ${name} is a ${known.kind}, not a ${kind}`);
    return known;
  }
}

function emptyHistogram(name: string): Histogram {
  const bounds = name.startsWith('csi_') ? operationBuckets : quickBuckets;
  return { bounds, counts: bounds.map(() => 0), sum: 0, count: 0 };
}

function numberAt(series: Family['series'], key: string): number {
  const value = series.get(key);
  return typeof value === 'number' ? value : 0;
}

function histogramLines(name: string, labels: string, histogram: Histogram): string[] {
  const prefix = labels === '' ? '' : `${labels},`;
  let below = 0;
  const buckets = histogram.bounds.map((bound, index) => {
    below += histogram.counts[index] ?? 0;
    return `${name}_bucket{${prefix}le="${bound}"} ${below}`;
  });
  return [
    ...buckets,
    `${name}_bucket{${prefix}le="+Inf"} ${histogram.count}`,
    `${name}_sum${braced(labels)} ${histogram.sum}`,
    `${name}_count${braced(labels)} ${histogram.count}`,
  ];
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(
      ([key, value]) =>
        `${key}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    )
    .join(',');
}

function braced(labels: string): string {
  return labels === '' ? '' : `{${labels}}`;
}
