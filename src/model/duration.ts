import { StorageError } from './errors.ts';

const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const parts = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy;

/**
 * Reads a duration as people write it, `30s`, `5m` or `1h30m`, as whole milliseconds.
 *
 * @throws StorageError 'invalid-argument' for anything else: a bare number has no unit, and guessing one has stopped clusters
 */
export function parseDurationMs(text: string): number {
  let totalMs = 0;
  let end = 0;
  for (const [whole, amount, unit] of text.matchAll(parts)) {
    totalMs += Number(amount) * (unitMs[unit ?? ''] ?? 0);
    end += whole.length;
  }
  if (text === '' || end !== text.length || !Number.isSafeInteger(Math.round(totalMs))) {
    throw new StorageError(
      'invalid-argument',
      `${JSON.stringify(text)} is not a duration; write it as 30s, 5m or 1h30m`,
    );
  }
  return Math.round(totalMs);
}

/** The two largest units that say something, `5m` or `1h30m`; below a second in milliseconds. */
export function formatDurationMs(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)}ms`;
  let restMs = Math.round(durationMs / 1000) * 1000;
  const words: string[] = [];
  for (const unit of ['d', 'h', 'm', 's']) {
    const sizeMs = unitMs[unit] ?? 1;
    const count = Math.floor(restMs / sizeMs);
    restMs -= count * sizeMs;
    if (count > 0) words.push(`${count}${unit}`);
    else if (words.length > 0) break;
    if (words.length === 2) break;
  }
  return words.join('');
}
