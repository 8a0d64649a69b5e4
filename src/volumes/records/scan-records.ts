import type { Directory } from '../../host/directory.ts';
import { readIfPresent, temporaryPrefix } from '../../host/durable-file.ts';
import { inLanes } from '../../host/lanes.ts';
import { isReason, StorageError } from '../../model/errors.ts';
import { isMadeBeforeCommit } from '../pools/clear-hollow.ts';

/** What a scan found besides sound records. */
export interface ScanReport {
  /** directories in which no record was ever committed, by all that can be seen from above; also among the broken */
  readonly hollow: readonly string[];
  /** directories in which a crash left unfinished files */
  readonly withUnfinished: readonly string[];
}

export interface RecordKind<R> {
  /** of its file in each directory */
  readonly recordName: string;
  /** what each directory is for, for messages */
  readonly noun: string;
  /** @param names of all that lies beside the record. @throws StorageError 'data-loss' */
  readonly parse: (text: string, path: string, names: readonly string[]) => R;
  /** the name of the directory in which such a record belongs */
  readonly idOf: (record: R) => string;
}

/**
 * Reads the record in every directory of a folder, and tells of each by the directory's name: the record, or why it cannot be
 * read. Never changes anything on disk.
 */
export async function scanRecords<R>(
  folder: Directory,
  kind: RecordKind<R>,
  tell: (name: string, found: { readonly record: R } | { readonly broken: StorageError }) => void,
): Promise<ScanReport> {
  const hollow: string[] = [];
  const withUnfinished: string[] = [];
  await inLanes(await folder.names(), 32, async (name) => {
    const path = folder.pathOf(name);
    let directory: Directory | undefined;
    try {
      directory = await folder.openChild(name);
      const names = await directory.names();
      if (names.some((file) => file.startsWith(temporaryPrefix))) withUnfinished.push(name);
      const text = await readIfPresent(directory, kind.recordName);
      if ((text ?? '') === '' && names.every((file) => isMadeBeforeCommit(file, kind.recordName)))
        hollow.push(name);
      tell(name, { record: readRecord(kind, name, path, text, names) });
    } catch (error) {
      const broken = new StorageError(
        'data-loss',
        `${path} is not a ${kind.noun}'s directory; look at it by hand`,
        { cause: error },
      );
      tell(name, { broken: isReason(error, 'data-loss') ? error : broken });
    } finally {
      await directory?.close();
    }
  });
  return { hollow, withUnfinished };
}

function readRecord<R>(
  { recordName, parse, idOf }: RecordKind<R>,
  name: string,
  path: string,
  text: string | undefined,
  names: readonly string[],
): R {
  if (text === undefined) {
    throw new StorageError(
      'data-loss',
      `${path} has data and no ${recordName}; restore the record or move the data away`,
    );
  }
  const record = parse(text, `${path}/${recordName}`, names);
  if (idOf(record) !== name) {
    throw new StorageError(
      'data-loss',
      `${path}/${recordName} is the record of ${idOf(record)}; put it back where it belongs`,
    );
  }
  return record;
}
