import { diskMarkName, type DestroyWish } from '../../backends/backend.ts';
import { errorCode } from '../../host/descriptor.ts';
import type { Directory } from '../../host/directory.ts';
import { writeDurably } from '../../host/durable-file.ts';
import { removeFile, removeIfEmpty } from '../../host/entries.ts';
import { eraseTree } from '../../host/erase-tree.ts';
import type { Pace } from '../../host/pace.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import { nounOf } from '../../model/snapshot-id.ts';
import type { ScrubMethod } from '../../model/class-parameters.ts';
import { recordNames, type DoomedRecord } from '../records/entry-record.ts';
import { methodOf, type EntryRecord } from './trash-entry.ts';

/** Beside the record once everything was erased: a crash while removing need not erase it all again. */
const erasedName = 'erased';
const keep = [...recordNames, erasedName];

export interface DestroyOptions {
  readonly found: EntryRecord;
  readonly pace: Pace;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly beforeRemove?: EntryHook | undefined;
  readonly discard?: EntryHook | undefined;
  readonly destroyElsewhere?: DestroyElsewhere | undefined;
  /** whether a snapshot or clone in the pool may have some of its blocks too; they are left to it */
  readonly mayShare: boolean;
}

/** @throws whatever keeps it from being destroyed: it is tried again */
export type DestroyElsewhere = (entryPath: string, record: DoomedRecord, wish: DestroyWish) => Promise<void>;

type EntryHook = (entryPath: string, record: DoomedRecord | undefined, signal: AbortSignal) => Promise<void>;

/**
 * Destroys one entry of the trash: lets go of it, erases it where its record says so, takes it apart, removes the data, and only
 * then the record and the entry itself. After a crash at any line a repeat still knows the method and ends in the same state.
 * @throws StorageError of `eraseTree` and `removeTree`; what `beforeRemove` and `discard` throw; the signal's reason
 */
export async function destroyEntry(trash: Directory, name: string, options: DestroyOptions): Promise<void> {
  const { found, pace, log, signal } = options;
  if (!(await trash.exists(name))) return;
  signal.throwIfAborted();
  const record = found.kind === 'read' ? found.record : undefined;
  await options.beforeRemove?.(trash.pathOf(name), record, signal);
  const method = methodOf(found);
  await destroyDisk(trash, name, options);
  // to take it apart gives its blocks back to the file system, which is all that this method asks for
  if (method.kind === 'scrub' && method.how === 'discard')
    await options.discard?.(trash.pathOf(name), record, signal);
  if (method.kind === 'scrub') await eraseOnce(trash, name, method.how, options);
  await options.discard?.(trash.pathOf(name), record, signal);
  await removeTree(trash, name, { signal, pace, keep });
  await removeRest(trash, name, options);
  log.info({ method: method.kind }, `deleted ${nounOf(name)} removed`);
}

/** What lies elsewhere goes before the mark that says so. @throws StorageError 'data-loss' where nobody knows which disk it is */
async function destroyDisk(trash: Directory, name: string, options: DestroyOptions): Promise<void> {
  const { found, pace, log, signal, destroyElsewhere } = options;
  if (found.kind === 'read' && found.record.spec.disk === undefined) return;
  const entry = await openIfDirectory(trash, name);
  if (entry === undefined) return;
  try {
    if (!(await entry.exists(diskMarkName))) return;
    if (found.kind !== 'read' || destroyElsewhere === undefined) {
      throw new StorageError(
        'data-loss',
        `${trash.pathOf(name)} is of a mounted disk, and its record cannot be read, so that the disk is not emptied; ` +
          'mend the record, or empty the disk by hand and remove this folder',
      );
    }
    const method = methodOf(found);
    const scrub = method.kind === 'scrub' ? { scrub: method.how } : {};
    await destroyElsewhere(trash.pathOf(name), found.record, { ...scrub, pace, log, signal });
    // durably, before the disk can be anybody's again: a power cut that brought the mark back would have it emptied under him
    await removeFile(entry, diskMarkName);
    await entry.sync();
  } finally {
    await entry.close();
  }
}

/** The record goes last, with its directory. */
async function removeRest(trash: Directory, name: string, { pace, signal }: DestroyOptions): Promise<void> {
  const entry = await openIfDirectory(trash, name);
  try {
    for (const kept of keep) if (entry !== undefined) await removeFile(entry, kept);
    if (entry !== undefined && (await removeIfEmpty(trash, name))) return;
  } catch (error) {
    // what has the record's name is no file
    if (!['EISDIR', 'EPERM'].includes(errorCode(error) ?? '')) throw error;
  } finally {
    await entry?.close();
  }
  await removeTree(trash, name, { signal, pace });
}

async function eraseOnce(
  trash: Directory,
  name: string,
  how: ScrubMethod,
  { pace, log, signal, mayShare }: DestroyOptions,
): Promise<void> {
  const entry = await openIfDirectory(trash, name);
  if (entry === undefined) return;
  try {
    if (await entry.exists(erasedName)) return;
    const { leftBytes } = await eraseTree(trash, name, {
      method: how,
      signal,
      pace,
      log,
      keep,
      leaveShared: mayShare,
    });
    if (leftBytes > 0n) log.info({ leftBytes }, 'blocks that snapshots or clones have too are left to them');
    await writeDurably(entry, erasedName, '').catch((error: unknown) => {
      // a full pool has no room even for this: then a crash costs a second erasing, nothing else
      log.warn({ error: messageOf(error) }, 'the end of a scrub could not be noted');
    });
  } finally {
    await entry.close();
  }
}

async function openIfDirectory(trash: Directory, name: string): Promise<Directory | undefined> {
  try {
    return await trash.openChild(name);
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}
