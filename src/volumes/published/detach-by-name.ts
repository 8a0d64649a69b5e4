import { basename, dirname } from 'node:path';
import { imageName } from '../../backends/backend.ts';
import { attachedDevices, detach } from '../../host/loop-devices.ts';

/**
 * Lets go of the loop devices of a volume whose pool is away: they would hold the lost disk, and a later mount of it could
 * find them. Only their backing file's name is left to go by, so this is for volumes that are known to have been staged here.
 * A device that is still mounted somewhere goes when that mount does.
 */
export async function detachByName(volumeId: string, signal: AbortSignal): Promise<void> {
  for (const { path, backingFile } of attachedDevices()) {
    const file = backingFile.replace(/ \(deleted\)$/, '');
    if (basename(file) === imageName && basename(dirname(file)) === volumeId) {
      await detach(path, signal, backingFile);
    }
  }
}
