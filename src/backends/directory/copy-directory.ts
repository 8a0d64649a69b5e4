import { copyTree } from '../../host/copy-tree.ts';
import { Directory } from '../../host/directory.ts';
import { syncFileSystem } from '../../host/file-system-sync.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { whileOpen } from '../../host/while-open.ts';
import { StorageError } from '../../model/errors.ts';
import { dataName, type Copied, type CopySource, type CopyWish, type VolumePlace } from '../backend.ts';

/** The copy until it is whole and on disk, and the name that `create` gives its unfinished directory. */
export const unfinishedName = `${dataName}.new`;

interface CopyOptions {
  readonly wish: CopyWish;
  readonly signal: AbortSignal;
  /** what is done to the empty directory that everything is copied into */
  readonly prepare?: (path: string) => Promise<void>;
  /** whether what was copied may be there */
  readonly check?: (path: string) => Promise<void>;
}

/**
 * Copies a volume's or snapshot's directory file by file. The copy gets its name when all of it is on disk; what a crash left of an
 * earlier try is removed and made anew. Where the data is there already nothing is copied, and the answer is the weakest
 * one, since nobody knows any more who wrote meanwhile.
 *
 * @throws StorageError 'not-consistent' for a live source where no loose copy is accepted, 'data-loss' where the source is gone, 'out-of-space',
 *   'cannot-erase' where something is mounted in an earlier try, 'host-failure'
 */
export async function copyDirectory(
  source: CopySource,
  place: VolumePlace,
  options: CopyOptions,
): Promise<Copied> {
  if (source.isLive && !options.wish.allowsLoose) throw notConsistent(source);
  await options.wish.mayBegin;
  return whileOpen(Directory.open(place.path), async (to) => {
    if (await to.exists(dataName)) return { consistency: 'loose' };
    const removal = { signal: options.signal, pace: unlimitedPace };
    await removeTree(to, unfinishedName, removal);
    await whileOpen(to.ensureChild(unfinishedName, 0o700), (unfinished) =>
      build(source, unfinished, to, options),
    );
    await removeTree(to, unfinishedName, removal);
    return { consistency: source.isLive ? 'loose' : 'quiet' };
  });
}

async function build(
  source: CopySource,
  unfinished: Directory,
  to: Directory,
  options: CopyOptions,
): Promise<void> {
  const { wish, signal } = options;
  const { onProgress } = wish;
  await options.prepare?.(unfinished.realPath);
  await whileOpen(Directory.open(source.place.path), (from) =>
    copyTree(from, dataName, unfinished, { signal, ...(onProgress === undefined ? {} : { onProgress }) }),
  );
  await options.check?.(unfinished.realPath);
  await syncFileSystem(unfinished, signal);
  await unfinished.rename(dataName, to, dataName);
}

function notConsistent({ spec }: CopySource): StorageError {
  return new StorageError(
    'not-consistent',
    `volume ${spec.id} is in use, and its files would be copied one after another while pods write to them; ` +
      'stop its pods, use backend loopback or btrfs, or set consistency: accept in the class',
    { facts: { volume: spec.id } },
  );
}
