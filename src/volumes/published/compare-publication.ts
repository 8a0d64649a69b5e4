import { StorageError } from '../../model/errors.ts';
import type { StageRequest } from '../../model/node-driver.ts';
import type { Publication } from './publications.ts';

/** A request as what will be remembered of it. */
export function publicationOf(
  kind: Publication['kind'],
  path: string,
  readonly: boolean,
  { volumeId, capability }: StageRequest,
  poolUuid: string,
  stagesNothing = false,
): Publication {
  const { access, accessMode } = capability;
  return {
    kind,
    volumeId,
    poolUuid,
    path,
    readonly,
    accessMode,
    accessType: access.kind,
    fsType: access.kind === 'mount' ? access.fsType : '',
    mountFlags: access.kind === 'mount' ? [...new Set(access.mountFlags)].sort() : [],
    mountsNothing: kind === 'stage' && (access.kind === 'block' || stagesNothing),
  };
}

/**
 * Pure: a repeat has to ask for what is live at the path.
 * @param path as the caller wrote it
 * @throws StorageError 'published-differently' that says what differs
 */
export function requireSame(live: Publication, asked: Publication, path: string): void {
  const difference = describeDifference(live, asked);
  if (difference === '') return;
  throw new StorageError('published-differently', `${path}: ${difference}; un${asked.kind} it first`);
}

/** '' where a repeat is the same. */
function describeDifference(live: Publication, asked: Publication): string {
  const differing: string[] = [];
  const compare = (what: string, before: string, now: string): void => {
    if (before !== now) differing.push(`${what} ${before || 'none'}, asked is ${now || 'none'}`);
  };
  compare('volume', live.volumeId, asked.volumeId);
  compare('use', live.kind, asked.kind);
  compare('pool', live.poolUuid, asked.poolUuid);
  compare('access type', live.accessType, asked.accessType);
  compare('mode', live.readonly ? 'read-only' : 'writable', asked.readonly ? 'read-only' : 'writable');
  compare('access mode', live.accessMode, asked.accessMode);
  compare('file system', live.fsType, asked.fsType);
  compare('mount flags', live.mountFlags.join(','), asked.mountFlags.join(','));
  return differing.length === 0 ? '' : `it is mounted with ${differing.join('; ')}`;
}
