import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { eventually, NotYet } from './eventually.ts';
import { leftoversBelow } from './host-leftovers.ts';

/** Everything that volumes leave in a pool, as paths below it; of an unused pool nothing. */
export function poolLeftovers(poolPath: string): string[] {
  return [
    ...entries(poolPath, 'volumes'),
    ...entries(poolPath, 'trash'),
    ...entries(poolPath, 'by-claim').flatMap((namespace) => {
      const claims = entries(poolPath, namespace);
      return claims.length === 0 ? [] : claims;
    }),
    ...leftoversBelow(join(poolPath, 'volumes')),
    ...leftoversBelow(join(poolPath, 'trash')),
  ];
}

/** No volume, image, trash, link, mount or loop device is left; waits, since trash is emptied in the background. */
export async function assertPoolEmpty(poolPath: string, timeoutMs = 10_000): Promise<void> {
  await assertNoneLeft(`an empty pool ${poolPath}`, () => poolLeftovers(poolPath), timeoutMs);
}

/** The same of one volume, where others may be. */
export async function assertGoneFromPool(
  poolPath: string,
  { handle, claim }: { readonly handle: string; readonly claim: string },
  timeoutMs: number,
): Promise<void> {
  const isOfIt = (path: string): boolean => path.includes(handle) || path.endsWith(`/${claim}`);
  await assertNoneLeft(
    `pool ${poolPath} without ${handle}`,
    () => poolLeftovers(poolPath).filter(isOfIt),
    timeoutMs,
  );
}

async function assertNoneLeft(what: string, look: () => string[], timeoutMs: number): Promise<void> {
  const state = { left: [] as string[] };
  await eventually(
    what,
    () => {
      state.left = look();
      if (state.left.length > 0) throw new NotYet(`left: ${state.left.slice(0, 8).join(', ')}`);
      return true;
    },
    timeoutMs,
  ).catch((error: unknown) => {
    expect(state.left).toEqual([]);
    throw error;
  });
}

function entries(poolPath: string, folder: string): string[] {
  try {
    return readdirSync(join(poolPath, folder)).map((name) => join(folder, name));
  } catch {
    return [];
  }
}
