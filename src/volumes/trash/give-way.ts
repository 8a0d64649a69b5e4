import type { Pace } from '../../host/pace.ts';
import type { Clock } from '../../model/clock.ts';

/** Resolves when nobody else is at work, or has been long enough. */
export type GiveWay = (signal: AbortSignal) => Promise<void>;

const lookEveryMs = 2;
/** So much at most before each little step: whoever is deleted gets on, too, under calls that never end. */
const longestMs = 8;

/** Waits while calls are under way, which somebody waits for; bytes of the deleted are in no hurry. */
export function giveWayTo(calls: { readonly size: number }, clock: Clock): GiveWay {
  return async (signal) => {
    const endMs = clock.nowMs() + longestMs;
    while (calls.size > 0 && clock.nowMs() < endMs) await clock.sleep(lookEveryMs, signal);
  };
}

/** The same pace, for work that can wait. */
export function politePace(pace: Pace, giveWay: GiveWay): Pace {
  return {
    files: async (count, signal) => {
      await giveWay(signal);
      await pace.files(count, signal);
    },
    bytes: async (count, signal) => {
      await giveWay(signal);
      await pace.bytes(count, signal);
    },
  };
}
