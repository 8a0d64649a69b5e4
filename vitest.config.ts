import { defineConfig } from 'vitest/config';

/** One project a suite, so that `scripts/test unit` and friends run exactly one folder. */
const suite = (name: string, extra: object = {}) => ({
  // longer than `eventually` waits, which says for what
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout: 60_000, ...extra },
});

/** Suites that share the machine's mounts, loop devices or API server run one file at a time. */
const alone = { fileParallelism: false, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      suite('unit'),
      suite('host', alone),
      suite('conformance', alone),
      suite('sanity', { ...alone, testTimeout: 600_000 }),
      suite('integration', { ...alone, testTimeout: 120_000 }),
      suite('quota', alone),
      suite('faults', { ...alone, testTimeout: 300_000, globalSetup: 'test/faults/totals.ts' }),
      suite('cluster', {
        ...alone,
        testTimeout: 180_000,
        hookTimeout: 300_000,
        // tests of a file that have a namespace each; more pods at once than that would be late on two processors
        maxConcurrency: 4,
        globalSetup: 'test/support/cluster-set-up.ts',
      }),
    ],
  },
});
