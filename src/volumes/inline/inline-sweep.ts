import { Directory } from '../../host/directory.ts';
import { kindAt } from '../../host/path-facts.ts';
import type { Clock } from '../../model/clock.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { isReason, messageOf, StorageError } from '../../model/errors.ts';
import { endInline } from './inline-end.ts';
import {
  inlineLockOf,
  isInline,
  type InlineEnvironment,
  type LocatedInlineVolume,
} from './inline-environment.ts';
import { podFolderOf, type PodFolder } from './inline-owner.ts';

const intervalMs = 60_000;

/**
 * Removes inline volumes whose pod was forced away while nobody unpublished them. Only on positive evidence: kubelet's folder
 * of pods is there with others in it, this pod's is not, and the volume is mounted nowhere. What cannot be judged is left.
 */
export async function sweepInline(environment: InlineEnvironment, call: CallContext): Promise<void> {
  for (const pool of environment.pools.open()) {
    for (const record of [...pool.records.all()].filter(isInline)) {
      if (call.signal.aborted) return;
      await sweepOne(environment, { pool, record }, call);
    }
  }
}

async function sweepOne(
  environment: InlineEnvironment,
  located: LocatedInlineVolume,
  call: CallContext,
): Promise<void> {
  const { pool, record } = located;
  const { id } = record.spec;
  const { namespace, name, uid, targetPath } = record.inline;
  const folder = podFolderOf(record.inline);
  const { locks, publications, log } = environment;
  try {
    if (folder === undefined || !(await isPodGone(folder))) return;
    await locks.run(inlineLockOf(id), 'its removal, its pod being gone,', async () => {
      const isSame = pool.records.get(id)?.inline?.uid === uid;
      if (!isSame || !(await isPodGone(folder))) return;
      // elsewhere it is never published; a mount by hand is for the trash to refuse
      if ((await publications.mountAt(targetPath)) !== undefined) return;
      await endInline(environment, located, call);
      log.info({ volumeId: id, pod: `${namespace}/${name}`, uid }, 'inline volume removed, its pod is gone');
    });
  } catch (error) {
    if (isReason(error, 'busy')) return;
    log.warn(
      { volumeId: id, error: messageOf(error) },
      'inline volume of a pod that is gone not removed yet',
    );
  }
}

/** A kubelet without any pod is not believed: Loam itself is one, so its folder is not the one that we were shown before. */
async function isPodGone({ path, parentPath }: PodFolder): Promise<boolean> {
  if ((await kindAt(path)) !== 'absent' || (await kindAt(parentPath)) !== 'directory') return false;
  const pods = await Directory.open(parentPath);
  try {
    return (await pods.names()).length > 0;
  } finally {
    await pods.close();
  }
}

/** Sweeps now and every minute, until the returned function is called; that waits for a sweep under way. */
export function keepSweeping(clock: Clock, sweep: (call: CallContext) => Promise<void>): () => Promise<void> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      await sweep({ signal });
      await clock.sleep(intervalMs, signal).catch(() => undefined);
    }
  };
  const running = run();
  return async () => {
    stopping.abort(new StorageError('cancelled', 'the process ends'));
    await running;
  };
}
