import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** Everything instead of what fits into a few minutes. */
export const isLong = process.env['FAULTS_LONG'] === '1';

/** How long one part of the campaign may begin new runs; FAULTS_SECONDS wins. */
export function budgetMsOf(seconds: number): number {
  const told = Number(process.env['FAULTS_SECONDS'] ?? (isLong ? 7000 : seconds));
  return told * 1000;
}

/** How long the API is away at its longest. */
export const outageMs = Number(process.env['FAULTS_OUTAGE_SECONDS'] ?? (isLong ? 60 : 6)) * 1000;

/** How long anything may take before it counts as stuck: longer than any fault lasts, and than the waits after it. */
export const patienceMs = Number(process.env['FAULTS_PATIENCE_SECONDS'] ?? 90) * 1000 + outageMs;

/** The same seed asks for the same; a run says which one it has. */
export const seed = Number(process.env['FAULTS_SEED'] ?? Math.floor(Math.random() * 1_000_000));

/** Runs wait more than they work. */
const atOnce = Number(process.env['FAULTS_PARALLEL'] ?? 3);

/** Compiled code of the program, so that its many starts take less. Goes away with the file's last test. */
export function codeCache(): string {
  const path = mkdtempSync(join(tmpdir(), 'loam-faults-cache-'));
  afterAll(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

/** Works through a list, some at once, until it is done or the time is up; what was begun is brought to its end. */
export async function throughAll<T>(
  list: readonly T[],
  budgetMs: number,
  work: (each: T) => Promise<void>,
): Promise<number> {
  const endMs = performance.now() + budgetMs;
  const rest = [...list];
  let done = 0;
  const lane = async (): Promise<void> => {
    for (let next = rest.shift(); next !== undefined && performance.now() < endMs; next = rest.shift()) {
      await work(next);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return done;
}
