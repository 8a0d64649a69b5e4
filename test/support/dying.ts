import type { Step, VolumeEnvironment } from '../../src/volumes/volume-environment.ts';
import { dead } from './volume-lab.ts';

/**
 * For a process that dies at a step: it never gets past it, and nothing of it runs any more.
 *
 * @param id of the volume or snapshot whose step it is; unset: of whichever gets there first
 */
export function dyingAt(
  step: Step,
  id?: string,
): { readonly reached: NonNullable<VolumeEnvironment['reached']>; readonly died: Promise<void> } {
  const { promise: died, resolve: tell } = Promise.withResolvers<void>();
  const reached = async (at: Step, atId: string): Promise<void> => {
    if (at !== step || (id !== undefined && atId !== id)) return;
    tell();
    await dead();
  };
  return { reached, died };
}
