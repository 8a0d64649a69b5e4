import { StorageError } from '../../model/errors.ts';
import { chooseBackend, noBackendError } from '../choose-backend.ts';
import { describeSource } from '../compare-volume.ts';
import type { FoundSource } from './hold-source.ts';
import { wishOf, type Candidate } from '../place-volume.ts';
import type { WantedVolume } from '../plan-volume.ts';

/**
 * The one place where a copy can be made: its source's pool and backend. A class that says nothing takes them as they are, one that
 * asks for others is refused, and so is one that wants what they cannot do, such as a limit that holds.
 *
 * @throws StorageError 'source-differs' naming each difference, or as `noBackendError`
 */
export function candidateForCopy(wanted: WantedVolume, source: FoundSource): Candidate {
  const { pool, spec } = source;
  const lines = differencesFrom(wanted, source);
  if (lines.length > 0) {
    throw new StorageError(
      'source-differs',
      `volume ${wanted.name} cannot be made from ${describeSource(source.content)}: ${lines.join('; ')}`,
    );
  }
  const choice = chooseBackend({ ...wishOf(wanted), backend: spec.backend }, pool.offers, pool);
  if (choice.kind === 'chosen') return { pool, offer: choice.offer };
  throw noBackendError(new Map([[pool.name, choice.refusal]]));
}

function differencesFrom(
  { accessType, fsType, parameters }: WantedVolume,
  { pool, spec }: FoundSource,
): readonly string[] {
  const lines: string[] = [];
  if (accessType !== spec.accessType) {
    const modes = { mount: 'Filesystem', block: 'Block' };
    lines.push(
      `it is for ${spec.accessType} and ${accessType} is asked; ask for volumeMode: ${modes[spec.accessType]}`,
    );
  } else if (fsType !== undefined && fsType !== spec.fsType) {
    const has = spec.fsType ?? "the pool's own file system";
    lines.push(`it has ${has} and ${fsType} is asked; name that or none`);
  }
  if (parameters.backend !== 'auto' && parameters.backend !== spec.backend) {
    lines.push(
      `it is a ${spec.backend} volume and the class says backend: ${parameters.backend}, which a copy cannot change; ` +
        'use a class with that backend or none, or copy the files with a pod',
    );
  }
  if (parameters.pool !== undefined && parameters.pool !== pool.name) {
    lines.push(
      `it lies in pool ${pool.name} and the class names ${parameters.pool}, copies stay in their pool; ` +
        'use a class with that pool or none, or copy the files with a pod',
    );
  }
  return lines;
}
