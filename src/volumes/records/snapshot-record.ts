import { consistencies, type ClaimRef, type Consistency, type VolumeSpec } from '../../model/volume.ts';
import type { ScrubMethod } from '../../model/class-parameters.ts';
import { StorageError } from '../../model/errors.ts';
import { isSnapshotId, type SnapshotId } from '../../model/snapshot-id.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import { FieldReader } from './field-reader.ts';
import { readClaim, readSpec, specFields } from './spec-fields.ts';

/** Name of the record inside a snapshot's directory. */
export const snapshotRecordName = 'snapshot.json';

/**
 * What is known of one snapshot, kept beside its data. It says everything that a restore needs, so that the source may be gone;
 * once it is ready it never changes.
 */
export interface SnapshotRecord {
  readonly schema: 1;
  readonly id: SnapshotId;
  /** the CSI name that CreateSnapshot was called with */
  readonly name: string;
  /** `creating` is an intent: after a crash such a snapshot is removed, and made anew when somebody asks again */
  readonly state: 'creating' | 'ready';
  readonly sourceVolumeId: VolumeId;
  /** the source's at that moment, with the source's id: what the data has the shape of */
  readonly spec: VolumeSpec;
  /** unset while it is being made */
  readonly consistency?: Consistency;
  /** of the VolumeSnapshotClass, as given, without what the sidecar adds */
  readonly parameters: Readonly<Record<string, string>>;
  /** the source's: the same bytes are to go the same way */
  readonly onDelete: 'delete' | 'scrub';
  readonly scrub: ScrubMethod;
  /** the source's, for people */
  readonly claim?: ClaimRef;
  readonly clusterUid?: string;
  readonly createdAtMs: number;
  /** what its data takes on the disk, blocks that others have too counted in full; while it is being made, at most */
  readonly writtenBytes: bigint;
  /** of these, what no older snapshot of the source held already */
  readonly addedBytes: bigint;
}

/** The record as the file has it: bytes as decimal text, the mode as octal text. */
export function formatSnapshotRecord(record: SnapshotRecord): string {
  const written = {
    ...record,
    spec: specFields(record.spec),
    writtenBytes: record.writtenBytes.toString(),
    addedBytes: record.addedBytes.toString(),
  };
  return `${JSON.stringify(written, undefined, 2)}\n`;
}

/**
 * Reads a snapshot's record.
 *
 * @param path for the message only
 * @throws StorageError 'data-loss' naming the path, the field and what is wrong with it
 */
export function parseSnapshotRecord(text: string, path: string): SnapshotRecord {
  const fields = FieldReader.ofRecord(text, path);
  const id = fields.text('id');
  if (!isSnapshotId(id)) {
    throw new StorageError(
      'data-loss',
      `${path}: field id is ${JSON.stringify(id.slice(0, 80))}, not a snapshot id`,
    );
  }
  const claim = readClaim(fields);
  const clusterUid = fields.optionalText('clusterUid');
  const consistency = fields.optionalOneOf('consistency', consistencies);
  return {
    schema: 1,
    id,
    name: fields.text('name'),
    state: fields.oneOf('state', ['creating', 'ready']),
    sourceVolumeId: fields.volumeId('sourceVolumeId'),
    spec: readSpec(fields.object('spec')),
    ...(consistency === undefined ? {} : { consistency }),
    parameters: fields.object('parameters').texts(),
    onDelete: fields.oneOf('onDelete', ['delete', 'scrub']),
    scrub: fields.oneOf('scrub', ['zero', 'random', 'discard']),
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined ? {} : { clusterUid }),
    createdAtMs: fields.number('createdAtMs'),
    writtenBytes: fields.bytes('writtenBytes'),
    addedBytes: fields.bytes('addedBytes'),
  };
}
