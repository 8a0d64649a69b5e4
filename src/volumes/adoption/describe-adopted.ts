import type { AccessMode } from '../../model/access-mode.ts';
import type { AdoptedVolume } from '../../model/volume-ledger.ts';
import { heldVolume } from '../held-volumes.ts';
import type { Pool } from '../pools/pool.ts';
import type { VolumeRecord } from '../records/record.ts';
import { volumeContextOf } from '../volume-context.ts';

const ofOneNode: readonly AccessMode[] = [
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
  'SINGLE_NODE_READER_ONLY',
];
const ofShared: readonly AccessMode[] = ['MULTI_NODE_READER_ONLY', 'MULTI_NODE_MULTI_WRITER'];

/** A volume as its record tells of it, with what a PV needs besides. */
export function describeAdopted(pool: Pick<Pool, 'name' | 'uuid'>, record: VolumeRecord): AdoptedVolume {
  return {
    ...heldVolume(record, pool),
    accessModes: record.sharing === 'node' ? [...ofOneNode, ...ofShared] : ofOneNode,
    volumeContext: volumeContextOf(record, pool.uuid),
  };
}
