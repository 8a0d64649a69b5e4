import type { CreateSnapshotRequest } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { snapshotIdOf, type SnapshotId } from '../../model/snapshot-id.ts';

/** A CreateSnapshot request, read and found sound. */
export interface WantedSnapshot {
  readonly id: SnapshotId;
  readonly name: string;
  readonly sourceVolumeId: string;
  /** whether a copy that mixes several moments will do */
  readonly allowsLoose: boolean;
  /** as given, without what the sidecar adds */
  readonly parameters: Readonly<Record<string, string>>;
}

const longestNameBytes = 128;
const reservedPrefix = 'csi.storage.k8s.io/';
const consistencyKey = 'consistency';

/** @throws StorageError 'invalid-argument' | 'invalid-parameter' naming the key and what it may say */
export function readSnapshotRequest(request: CreateSnapshotRequest): WantedSnapshot {
  const { name, sourceVolumeId } = request;
  if (name === '') throw new StorageError('invalid-argument', 'the snapshot has no name; name it');
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes > longestNameBytes) {
    throw new StorageError(
      'invalid-argument',
      `the snapshot's name has ${nameBytes} bytes, ${longestNameBytes} are the most; shorten it`,
    );
  }
  if (sourceVolumeId === '') {
    throw new StorageError('invalid-argument', `snapshot ${name}: no source volume is given; name it`);
  }
  const parameters = Object.fromEntries(
    Object.entries(request.parameters).filter(([key]) => !key.startsWith(reservedPrefix)),
  );
  return { id: snapshotIdOf(name), name, sourceVolumeId, allowsLoose: allowsLoose(parameters), parameters };
}

function allowsLoose(parameters: Readonly<Record<string, string>>): boolean {
  const { [consistencyKey]: consistency = 'refuse', ...others } = parameters;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw new StorageError(
      'invalid-parameter',
      `unknown snapshot class parameter ${JSON.stringify(unknown)}; known is ${consistencyKey}`,
    );
  }
  if (consistency !== 'refuse' && consistency !== 'accept') {
    throw new StorageError(
      'invalid-parameter',
      `snapshot class parameter ${consistencyKey} is ${JSON.stringify(consistency)}; it can be refuse, accept`,
    );
  }
  return consistency === 'accept';
}
