import type { Pace } from '../../host/pace.ts';

/** What an entry may take of a lane where others wait: some tens of milliseconds. */
const briefFiles = 500;
const briefBytes = 16 << 20;

/** Thrown by a pace that is used up: the work is to be done where nobody waits behind it. */
export class TakesLong extends Error {
  override name = 'TakesLong';
}

/** The same pace, for little work only. */
export function briefPace(pace: Pace): Pace {
  let files = 0;
  let bytes = 0;
  return {
    files: async (count, signal) => {
      files += count;
      if (files > briefFiles) throw new TakesLong();
      await pace.files(count, signal);
    },
    bytes: async (count, signal) => {
      bytes += count;
      if (bytes > briefBytes) throw new TakesLong();
      await pace.bytes(count, signal);
    },
  };
}
