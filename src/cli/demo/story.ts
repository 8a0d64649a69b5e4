import { dynamicSteps } from './story-dynamic.ts';
import { imageSteps } from './story-image.ts';
import { refusedSteps } from './story-refused.ts';
import { secondThoughtsSteps } from './story-second-thoughts.ts';
import { staticSteps } from './story-static.ts';
import type { Step } from './step.ts';

/** Told anew for every run: the chapters keep what they have seen between their steps. */
export function story(): readonly { readonly title: string; readonly steps: readonly Step[] }[] {
  return [
    { title: 'A claim, from its creation to its scrubbed bytes', steps: dynamicSteps() },
    { title: 'A volume that was there before: a static PV', steps: staticSteps() },
    { title: 'Second thoughts: undelete, and recycling', steps: secondThoughtsSteps() },
    { title: 'Claims that cannot be had say why', steps: refusedSteps() },
    { title: 'An image with a size that holds', steps: imageSteps() },
  ];
}
