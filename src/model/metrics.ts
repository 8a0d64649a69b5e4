/** What rooms measure into; `observe/metrics.ts` keeps the numbers and writes them out for Prometheus. */
export interface Metrics {
  /** Adds to a counter. Label values must come from closed sets, never from requests. */
  count(name: string, labels: Labels, by?: number): void;
  /** Sets a gauge. */
  gauge(name: string, labels: Labels, value: number): void;
  /** Puts one duration into a histogram. */
  observeSeconds(name: string, labels: Labels, seconds: number): void;
}
export type Labels = Readonly<Record<string, string>>;

export const noMetrics: Metrics = { count: () => {}, gauge: () => {}, observeSeconds: () => {} };
