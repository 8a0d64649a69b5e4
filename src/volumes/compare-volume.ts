import { parseClassParameters } from '../model/class-parameters.ts';
import { parseMutableParameters, withChanges } from '../model/mutable-parameters.ts';
import { formatBytes } from '../model/quantity.ts';
import type { ContentSource } from '../model/volume.ts';
import type { WantedVolume } from './plan-volume.ts';
import type { VolumeRecord } from './records/record.ts';

/**
 * What keeps an existing volume from being the answer to a request of the same name; empty: it is the answer.
 * Each line names both sides: a claim whose class was changed meanwhile is told what differs.
 */
export function differences(wanted: WantedVolume, record: VolumeRecord, poolName: string): readonly string[] {
  const { spec } = record;
  const { parameters: asked, range } = wanted;
  // as it was asked for; what was modified since makes it no other volume
  const has = withChanges(
    parseClassParameters(record.parameters),
    parseMutableParameters(record.mutable ?? {}),
  );
  const lines: string[] = [];
  const compare = (
    what: string,
    existing: string | number | undefined,
    now: string | number | undefined,
  ): void => {
    if (existing !== now) lines.push(`its ${what} is ${existing ?? 'unset'}, asked is ${now ?? 'unset'}`);
  };
  if (spec.sizeBytes < range.requiredBytes) {
    lines.push(
      `it has ${formatBytes(spec.sizeBytes)}, at least ${formatBytes(range.requiredBytes)} are asked`,
    );
  }
  if (range.limitBytes !== 0n && spec.sizeBytes > range.limitBytes) {
    lines.push(`it has ${formatBytes(spec.sizeBytes)}, at most ${formatBytes(range.limitBytes)} are asked`);
  }
  compare('access type', spec.accessType, wanted.accessType);
  if (wanted.fsType !== undefined) compare('file system', spec.fsType, wanted.fsType);
  if (asked.backend !== 'auto') compare('backend', spec.backend, asked.backend);
  if (asked.pool !== undefined) compare('pool', poolName, asked.pool);
  compare('provisioning', has.provisioning, asked.provisioning);
  compare('limit', has.limit, asked.limit);
  compare('mode', has.mode?.toString(8), asked.mode?.toString(8));
  compare('uid', has.uid, asked.uid);
  compare('gid', has.gid, asked.gid);
  compare('onDelete', has.onDelete, asked.onDelete);
  compare('scrub', has.scrub, asked.scrub);
  compare('sharing', has.sharing, asked.sharing);
  compare('consistency', has.consistency, asked.consistency);
  compare('source', describeSource(record.source), describeSource(wanted.source));
  if (record.claim !== undefined && wanted.claim !== undefined) {
    compare('claim', record.claim.uid, wanted.claim.uid);
  }
  if (record.clusterUid !== undefined && wanted.clusterUid !== undefined) {
    compare('cluster', record.clusterUid, wanted.clusterUid);
  }
  return lines;
}

/** For people; unset: nothing, the volume begins empty. */
export function describeSource(source: ContentSource | undefined): string | undefined {
  if (source === undefined) return undefined;
  return source.kind === 'snapshot' ? `snapshot ${source.snapshotId}` : `volume ${source.volumeId}`;
}
