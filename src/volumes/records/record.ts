import { onDeletes, type OnDelete, type ScrubMethod } from '../../model/class-parameters.ts';
import {
  consistencies,
  type ClaimRef,
  type Consistency,
  type ContentSource,
  type VolumeSpec,
} from '../../model/volume.ts';
import { FieldReader } from './field-reader.ts';
import { readClaim, readSpec, specFields } from './spec-fields.ts';

/** Name of the record inside a volume's directory. */
export const recordName = 'volume.json';

/** The pod that an inline volume was made for, and where kubelet wants it. */
export interface InlineOwner {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** links of its parents resolved */
  readonly targetPath: string;
}

/**
 * What is known of one volume, kept beside its data as JSON that a person can read and mend.
 * It changes on create, on growth and modification, and when its PV is first seen; what is mounted is never written here.
 */
export interface VolumeRecord {
  readonly schema: 1;
  /** the CSI name that CreateVolume was called with */
  readonly name: string;
  /**
   * `creating` is an intent: after a crash such a volume is removed or made anew, never served. `recycling`: its data is being
   * destroyed and made anew in place; it is not served either, and a crash begins that again
   */
  readonly state: 'creating' | 'ready' | 'recycling';
  readonly spec: VolumeSpec;
  /** of the class, as given, without what the provisioner adds about the claim */
  readonly parameters: Readonly<Record<string, string>>;
  /** of the VolumeAttributesClass that it was made with, as given; what counts now is what the spec and the fields below say */
  readonly mutable?: Readonly<Record<string, string>>;
  readonly onDelete: OnDelete;
  readonly scrub: ScrubMethod;
  readonly sharing: 'none' | 'node';
  /** unset where the caller told us of no claim */
  readonly claim?: ClaimRef;
  readonly clusterUid?: string;
  /** the StorageClass of that claim; unset where nobody told */
  readonly className?: string;
  /** set for a volume that goes with its pod; it never has a PV */
  readonly inline?: InlineOwner;
  /** whose data it began with; unset: it began empty */
  readonly source?: ContentSource;
  /** how sure that copy was; unset while it is being made */
  readonly consistency?: Consistency;
  /** where in the pool its data lay before it became a volume; unset: it was made here */
  readonly adoptedFrom?: string;
  readonly createdAtMs: number;
  /** whether a PV of it was ever seen; such a volume is never swept */
  readonly acknowledged: boolean;
  /** whether it was ever staged, so that somebody may have written to it */
  readonly used?: boolean;
  /** when it was deleted and its data kept, of a volume in the archive */
  readonly archivedAtMs?: number;
}

/** The record as the file has it: bytes as decimal text, the mode as octal text. */
export function formatRecord(record: VolumeRecord): string {
  const written = { ...record, spec: specFields(record.spec) };
  return `${JSON.stringify(written, undefined, 2)}\n`;
}

/**
 * Reads a record's file.
 *
 * @param path for the message only
 * @throws StorageError 'data-loss' naming the path, the field and what is wrong with it
 */
export function parseRecord(text: string, path: string): VolumeRecord {
  const fields = FieldReader.ofRecord(text, path);
  const claim = readClaim(fields);
  const clusterUid = fields.optionalText('clusterUid');
  const className = fields.optionalText('className');
  const inline = fields.optionalObject('inline');
  const adoptedFrom = fields.optionalText('adoptedFrom');
  const mutable = fields.optionalObject('mutable')?.texts();
  const source = fields.optionalObject('source');
  const consistency = fields.optionalOneOf('consistency', consistencies);
  const archivedAtMs = fields.optionalNumber('archivedAtMs');
  return {
    schema: 1,
    name: fields.text('name'),
    state: fields.oneOf('state', ['creating', 'ready', 'recycling']),
    spec: readSpec(fields.object('spec')),
    parameters: fields.object('parameters').texts(),
    ...(mutable === undefined ? {} : { mutable }),
    onDelete: fields.oneOf('onDelete', onDeletes),
    scrub: fields.oneOf('scrub', ['zero', 'random', 'discard']),
    sharing: fields.oneOf('sharing', ['none', 'node']),
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined ? {} : { clusterUid }),
    ...(className === undefined ? {} : { className }),
    ...(inline === undefined ? {} : { inline: parseOwner(inline) }),
    ...(source === undefined ? {} : { source: parseSource(source) }),
    ...(consistency === undefined ? {} : { consistency }),
    ...(adoptedFrom === undefined ? {} : { adoptedFrom }),
    createdAtMs: fields.number('createdAtMs'),
    acknowledged: fields.truth('acknowledged'),
    ...(archivedAtMs === undefined ? {} : { archivedAtMs }),
  };
}

function parseSource(fields: FieldReader): ContentSource {
  const kind = fields.oneOf('kind', ['snapshot', 'volume']);
  return kind === 'snapshot'
    ? { kind, snapshotId: fields.text('snapshotId') }
    : { kind, volumeId: fields.text('volumeId') };
}

function parseOwner(fields: FieldReader): InlineOwner {
  return {
    namespace: fields.text('namespace'),
    name: fields.text('name'),
    uid: fields.text('uid'),
    targetPath: fields.text('targetPath'),
  };
}
