import type { Clock } from './clock.ts';
import { sleepBy } from './sleep.ts';

/** The longest delay that setTimeout takes; beyond it, it would fire at once. */
const longestTimerMs = 2 ** 31 - 1;

/** The machine's own time. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  sleep: (delayMs, signal) => sleepBy(after, delayMs, signal),
  after,
};

function after(delayMs: number, callback: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (remainingMs: number) => {
    const stepMs = Math.min(Math.max(remainingMs, 0), longestTimerMs);
    timer = setTimeout(() => (remainingMs > stepMs ? arm(remainingMs - stepMs) : callback()), stepMs);
  };
  arm(delayMs);
  return () => clearTimeout(timer);
}
