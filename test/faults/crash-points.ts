import type { Moment, Step } from './interposer/plan.ts';
import type { Lots } from './lots.ts';
import type { Kill } from './supervised-node.ts';

/** The end of a process at one step, and perhaps of the next one while it puts things in order. */
export interface CrashPoint {
  readonly step: Step;
  readonly kills: readonly Kill[];
}

/**
 * Every step as a point to die at: after it, and for what takes time also in its midst. In an order in which any beginning is a sample:
 * places of the sources that were not met yet come first, spread over the whole run, then those that were met once, and so on: a place
 * that is passed two thousand times does not crowd out the others.
 */
export function crashPoints(steps: readonly Step[], lots: Lots): readonly CrashPoint[] {
  const rounds: Step[][] = [];
  const met = new Map<string, number>();
  for (const step of steps) {
    const before = met.get(step.site) ?? 0;
    met.set(step.site, before + 1);
    (rounds[before] ??= []).push(step);
  }
  const inOrder = rounds.flatMap((round) => spread(round, lots));
  return inOrder.flatMap((step) =>
    momentsOf(step, lots).map((moment) => ({
      step,
      kills: [{ at: step.number, moment }, ...recovery(lots)],
    })),
  );
}

function momentsOf({ what }: Step, lots: Lots): readonly Moment[] {
  if (what.startsWith('file ')) return [lots.isSo(0.2) ? 'before' : 'after'];
  return ['during', 'after'];
}

/** One in three dies again while it recovers. */
function recovery(lots: Lots): readonly Kill[] {
  return lots.isSo(1 / 3) ? [{ at: lots.between(1, 40), moment: 'after' }] : [];
}

/** Neighbours far apart, from a place drawn by lot. */
function spread<T>(list: readonly T[], lots: Lots): readonly T[] {
  const start = lots.share();
  const golden = 0.6180339887498949;
  return list
    .map((each, at) => ({ each, turn: (start + at * golden) % 1 }))
    .sort((a, b) => a.turn - b.turn)
    .map(({ each }) => each);
}
