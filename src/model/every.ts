import type { Clock } from './clock.ts';

/** Runs it again and again, first after one period. Returns how to stop; `run` must not throw. */
export function every(clock: Clock, periodMs: number, run: () => void): () => void {
  let cancel = (): void => {};
  const arm = (): void => {
    cancel = clock.after(periodMs, () => {
      run();
      arm();
    });
  };
  arm();
  return () => cancel();
}
