import { parseClassParameters } from '../model/class-parameters.ts';
import { isReason, StorageError } from '../model/errors.ts';
import { limitKey, type VolumeCapability } from '../model/volume.ts';
import { shapeOf } from './check-capabilities.ts';
import type { VolumeRecord } from './records/record.ts';

/**
 * Whether a volume serves these capabilities; '' if so, else why not, for people.
 *
 * @throws StorageError 'invalid-argument' where none are named
 */
export function whyUnsupported(record: VolumeRecord, capabilities: readonly VolumeCapability[]): string {
  if (capabilities.length === 0) {
    throw new StorageError('invalid-argument', 'no capabilities are named; name at least one');
  }
  try {
    const shape = shapeOf(capabilities, record.sharing);
    const { spec } = record;
    if (shape.accessType !== spec.accessType)
      return `the volume is for ${spec.accessType}, not ${shape.accessType}`;
    if (shape.fsType !== undefined && shape.fsType !== spec.fsType) {
      return `the volume has ${spec.fsType ?? "the pool's own file system"}, not ${shape.fsType}`;
    }
    return '';
  } catch (error) {
    if (isReason(error, 'unsupported-capability')) return error.message;
    throw error;
  }
}

/** The same for the class's parameters and the PV's attributes; what is not given is not compared. */
export function whyDifferent(
  record: VolumeRecord,
  poolContext: Readonly<Record<string, string>>,
  asked: {
    readonly parameters: Readonly<Record<string, string>>;
    readonly volumeContext: Readonly<Record<string, string>>;
  },
): string {
  for (const [key, value] of Object.entries(asked.volumeContext)) {
    // the PV says what the volume was made with; a VolumeAttributesClass may have changed it since
    const own = key === limitKey ? undefined : poolContext[key];
    if (own !== undefined && own !== value) return `attribute ${key} is ${own}, not ${value}`;
  }
  if (Object.keys(asked.parameters).length === 0) return '';
  try {
    const wanted = parseClassParameters(asked.parameters);
    const has = parseClassParameters(record.parameters);
    const differing = (Object.keys(wanted) as (keyof typeof wanted)[]).filter(
      (key) => key !== 'fsType' && key !== 'pool' && wanted[key] !== has[key],
    );
    return differing.length === 0 ? '' : `parameters differ from the volume's: ${differing.join(', ')}`;
  } catch (error) {
    if (isReason(error, 'invalid-parameter')) return error.message;
    throw error;
  }
}
