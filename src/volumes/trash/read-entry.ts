import { errorCode } from '../../host/descriptor.ts';
import type { Directory } from '../../host/directory.ts';
import { readIfPresent } from '../../host/durable-file.ts';
import { whileOpen } from '../../host/while-open.ts';
import { messageOf } from '../../model/errors.ts';
import type { EntryId } from '../../model/snapshot-id.ts';
import { recordNameOf } from '../records/entry-record.ts';
import { readEntryRecord, type EntryRecord } from './trash-entry.ts';

/** The record in the directory of a volume or snapshot that is deleted. Never throws: what cannot be read has to go all the same. */
export async function readEntry(parent: Directory, name: string, id: EntryId): Promise<EntryRecord> {
  const recordName = recordNameOf(id);
  const path = `${parent.pathOf(name)}/${recordName}`;
  try {
    const text = await whileOpen(parent.openChild(name), (directory) => readIfPresent(directory, recordName));
    return readEntryRecord(id, text, path);
  } catch (error) {
    const isGone = errorCode(error) === 'ENOENT';
    return isGone ? { kind: 'absent' } : { kind: 'unreadable', why: messageOf(error) };
  }
}
