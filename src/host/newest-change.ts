import { lstat, readdir } from 'node:fs/promises';
import { errorCode } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { inLanes } from './lanes.ts';

export interface NewestChange {
  /** of whatever was seen; infinity where something went away meanwhile */
  readonly changedAtMs: number;
  readonly entries: number;
}

/** Of libuv's four threads two stay free for everybody else's file work. */
const lanes = 2;
const slash = Buffer.from('/');

/**
 * When something in a tree last changed: content, attributes or names. Looks at so many entries at most, follows no link, and leaves out
 * what is mounted inside and what cannot be looked at. Nothing is opened but directories, and nothing is changed.
 */
export async function newestChange(dir: Directory, name: string, mostEntries: number): Promise<NewestChange> {
  const top = Buffer.from(dir.entry(name));
  let changedAtMs = 0;
  let entries = 0;
  let device: bigint | undefined;
  const waiting: Buffer[] = [];
  const look = async (path: Buffer): Promise<void> => {
    const found = await lstat(path, { bigint: true });
    device ??= found.dev;
    if (found.dev !== device) return;
    changedAtMs = Math.max(changedAtMs, Number(found.ctimeMs));
    if (found.isDirectory()) waiting.push(path);
  };
  const orGone = async (act: () => Promise<void>): Promise<void> => {
    try {
      await act();
    } catch (error) {
      if (errorCode(error) === 'ENOENT') changedAtMs = Number.POSITIVE_INFINITY;
    }
  };
  await orGone(() => look(top));
  for (;;) {
    const folder = waiting.pop();
    if (folder === undefined || entries >= mostEntries) return { changedAtMs, entries };
    await orGone(async () => {
      const names = await readdir(folder, { encoding: 'buffer' });
      const some = names.slice(0, mostEntries - entries);
      entries += some.length;
      await inLanes(some, lanes, (each) => orGone(() => look(Buffer.concat([folder, slash, each]))));
    });
  }
}
