import type { VolumeLedger } from '../../model/volume-ledger.ts';

/** Uuids of the pools that are open here; undefined where that cannot be said: then nothing follows. */
export async function openPools(
  ledger: Pick<VolumeLedger, 'rooms'>,
): Promise<ReadonlySet<string> | undefined> {
  try {
    return new Set((await ledger.rooms()).map(({ uuid }) => uuid));
  } catch {
    return undefined;
  }
}
