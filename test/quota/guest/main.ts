import { checks } from './checks.ts';
import { reportPrefix, type Outcome } from './report.ts';

for (const [name, check] of Object.entries(checks)) {
  const startMs = performance.now();
  const failure = await check().then(
    () => ({}),
    (error: unknown) => ({
      failure: error instanceof Error ? (error.stack ?? error.message) : String(error),
    }),
  );
  const outcome: Outcome = { name, ...failure, tookMs: Math.round(performance.now() - startMs) };
  console.log(`${reportPrefix}${JSON.stringify(outcome)}`);
}
