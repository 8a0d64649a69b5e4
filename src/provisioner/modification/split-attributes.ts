import { parseDurationMs } from '../../model/duration.ts';
import { messageOf, StorageError } from '../../model/errors.ts';

const key = 'retainFor';

/**
 * What of a VolumeAttributesClass is asked of the driver, and what the loop writes on the PV itself: how long a released volume is
 * retained is kept there, and nowhere on the disk. Other people's drivers are asked for everything.
 *
 * @throws StorageError 'invalid-parameter' for a `retainFor` that is no duration
 */
export function splitAttributes(
  parameters: Readonly<Record<string, string>>,
  { ownDriver }: { readonly ownDriver: boolean },
): { readonly forDriver: Readonly<Record<string, string>>; readonly retainFor?: string } {
  const { [key]: retainFor, ...forDriver } = parameters;
  if (!ownDriver || retainFor === undefined) return { forDriver: parameters };
  try {
    parseDurationMs(retainFor);
  } catch (error) {
    throw new StorageError('invalid-parameter', `attribute ${key}: ${messageOf(error)}`);
  }
  return { forDriver, retainFor };
}
