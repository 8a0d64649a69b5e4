import { knownParameters, parseClassParameters, type ClassParameters } from './class-parameters.ts';
import { StorageError } from './errors.ts';

/** What a VolumeAttributesClass can say. What it does not say stays as it is. */
export type MutableParameters = Partial<
  Pick<ClassParameters, 'limit' | 'provisioning' | 'onDelete' | 'scrub'>
>;

export const mutableKeys = ['limit', 'provisioning', 'onDelete', 'scrub'] as const;

/** How other drivers call what would be a cgroup's to hold. */
const ioPattern =
  /^(?:io|iops|bps|throughput|bandwidth|(?:max-?)?(?:read|write)(?:-?(?:iops|bps|bytes))?)(?:$|[-.A-Z])/;

/**
 * Reads a VolumeAttributesClass's parameters, by themselves: whether they go together with what the volume has is seen when they
 * are applied. Keys that sidecars add about the claim are passed over.
 *
 * @throws StorageError 'invalid-parameter', naming the key and what can be modified
 */
export function parseMutableParameters(parameters: Readonly<Record<string, string>>): MutableParameters {
  let changes: MutableParameters = {};
  for (const [given, text] of Object.entries(parameters)) {
    if (given.startsWith('csi.storage.k8s.io/')) continue;
    const key = mutableKeys.find((known) => known === given);
    if (key === undefined) throw unmodifiable(given);
    const read = parseClassParameters(key === 'scrub' ? { scrub: text, onDelete: 'scrub' } : { [key]: text });
    changes = { ...changes, [key]: read[key] };
  }
  return changes;
}

/**
 * What the class says, with what a VolumeAttributesClass says over it.
 *
 * @throws StorageError 'invalid-parameter' for a scrub that would never be done
 */
export function withChanges<T extends Required<MutableParameters>>(
  parameters: T,
  changes: MutableParameters,
): T {
  const changed = { ...parameters, ...changes };
  if (changes.scrub !== undefined && changed.onDelete !== 'scrub') {
    throw new StorageError(
      'invalid-parameter',
      `scrub: ${changes.scrub} does nothing without onDelete: scrub; add it or remove scrub`,
    );
  }
  return changed;
}

function unmodifiable(key: string): StorageError {
  const modifiable = `what can be modified is ${mutableKeys.join(', ')}`;
  const name = JSON.stringify(key);
  const why = knownParameters.includes(key)
    ? `${name} is decided when a volume is made`
    : ioPattern.test(key)
      ? `${name}: io limits are not set here, they would have to be written to the cgroups of pods, which belong to kubelet`
      : `unknown parameter ${name}`;
  return new StorageError('invalid-parameter', `${why}; ${modifiable}`);
}
