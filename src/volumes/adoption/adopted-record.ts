import { parseClassParameters } from '../../model/class-parameters.ts';
import { StorageError } from '../../model/errors.ts';
import { isVolumeId, type VolumeId } from '../../model/volume-id.ts';
import type { VolumeRecord } from '../records/record.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';
import type { NewOwner } from './adopt-volume.ts';
import type { Source } from './find-adoptable.ts';
import type { ShapeWish } from './shape-of-source.ts';

export interface AdoptPathOptions extends ShapeWish {
  /** unset: made of the path, the same at every attempt */
  readonly volumeId?: string;
  /** whose it is to be */
  readonly owner?: NewOwner;
  /** whether a person asked for it by name: then also for a disk that was forgotten; unset: not */
  readonly byHand?: boolean;
  /** of the class that it is to be of: what they say of sharing, of its end and of adopting counts; unset: the defaults */
  readonly parameters?: Readonly<Record<string, string>>;
}

/** The record of what was found and is to become a volume. @throws StorageError 'invalid-parameter' */
export function recordOf(
  { clock }: VolumeEnvironment,
  { relativePath }: Pick<Source, 'relativePath'>,
  spec: VolumeRecord['spec'],
  { parameters = {}, owner = {} }: AdoptPathOptions,
): VolumeRecord {
  const { onDelete, scrub, sharing } = parseClassParameters(parameters);
  const { claim, clusterUid, className } = owner;
  return {
    schema: 1,
    name: spec.id,
    state: 'ready',
    spec,
    parameters,
    onDelete,
    scrub,
    sharing,
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined ? {} : { clusterUid }),
    ...(className === undefined ? {} : { className }),
    adoptedFrom: relativePath,
    createdAtMs: clock.nowMs(),
    acknowledged: true,
  };
}

/** An id that tells people where its data was found. */
export function plainId(name: string, suffix: string): string {
  const plain = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 40)
    .replace(/-+$/, '');
  return `${plain === '' ? 'found' : plain}-${suffix}`;
}

/** @throws StorageError 'invalid-argument' */
export function requireId(id: string): asserts id is VolumeId {
  if (isVolumeId(id)) return;
  throw new StorageError(
    'invalid-argument',
    `${JSON.stringify(id)} cannot be a volume's id; use lower-case letters, digits, - and ., at most 128`,
  );
}
