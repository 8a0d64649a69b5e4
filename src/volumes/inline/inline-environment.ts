import { join } from 'node:path';
import type { LocatedVolume } from '../locate-volume.ts';
import type { NodeEnvironment } from '../published/node-environment.ts';
import type { InlineOwner, VolumeRecord } from '../records/record.ts';
import type { Turns } from './turns.ts';

/** What is configured for volumes that pods describe themselves. */
export interface InlineSettings {
  /** the largest; 0 = none are made, those that are there go on */
  readonly maxBytes: bigint;
  /** where they are staged, since kubelet stages none of them: a folder whose mounts outlive this process */
  readonly stagingFolder: string;
}

/** Passed to every verb that works on them. */
export interface InlineEnvironment extends NodeEnvironment {
  readonly lifecycle: 'inline';
  readonly inline: InlineSettings;
  /** One pod may describe a thousand, and kubelet asks for all of them at once. Those that are made never hold up those that end. */
  readonly turns: { readonly making: Turns; readonly ending: Turns };
}

export interface LocatedInlineVolume extends LocatedVolume {
  readonly record: VolumeRecord & { readonly inline: InlineOwner };
}

/** Held around all the steps of one call, each of which holds the volume's own lock. */
export function inlineLockOf(volumeId: string): string {
  return `${volumeId} (inline)`;
}

/** @param volumeId one path component */
export function stagingPathOf({ inline }: InlineEnvironment, volumeId: string): string {
  return join(inline.stagingFolder, volumeId);
}

/**
 * Everything that the open pools have of an inline volume, half-made ones too. There can be two: its pool was away while
 * the pod's folder was made anew.
 */
export function inlineVolumesOf(
  { pools }: Pick<InlineEnvironment, 'pools'>,
  volumeId: string,
): readonly LocatedInlineVolume[] {
  return pools.open().flatMap((pool) => {
    const record = pool.records.get(volumeId);
    return record !== undefined && isInline(record) ? [{ pool, record }] : [];
  });
}

export function isInline(record: VolumeRecord): record is LocatedInlineVolume['record'] {
  return record.inline !== undefined;
}
