import { open, readdir, readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { Directory } from '../../host/directory.ts';
import { writeDurably } from '../../host/durable-file.ts';
import { removeIfEmpty } from '../../host/entries.ts';
import { isAtOrBelow, readMounts } from '../../host/mountinfo.ts';
import { kindAt, openOrMake } from '../../host/path-facts.ts';
import type { DemoFiles } from './world.ts';

/** The story's look at the real disk. */
export const demoFiles: DemoFiles = {
  async write(directoryPath, name, text) {
    const directory = await Directory.open(directoryPath);
    try {
      await writeDurably(directory, name, text, { mode: 0o644 });
    } finally {
      await directory.close();
    }
  },
  read: (path) => readFile(path, 'utf8'),
  exists: async (path) => (await kindAt(path)) !== 'absent',
  names: (path) => readdir(path),
  async mountsBelow(path) {
    const mounts = await readMounts();
    return mounts.map(({ mountPoint }) => mountPoint).filter((mountPoint) => isAtOrBelow(mountPoint, path));
  },
  async hold(path) {
    const file = await open(path, 'r');
    return {
      async bytes() {
        const { size } = await file.stat();
        const buffer = Buffer.alloc(size);
        await file.read(buffer, 0, size, 0);
        return buffer;
      },
      close: () => file.close(),
    };
  },
};

/** What kubelet does about directories around a volume. */
export const kubeletDirectories = {
  async make(path: string): Promise<void> {
    await (await openOrMake(path, 0o750)).close();
  },
  async remove(path: string): Promise<void> {
    if ((await kindAt(dirname(path))) === 'absent') return;
    const parent = await Directory.open(dirname(path));
    try {
      await removeIfEmpty(parent, basename(path));
    } finally {
      await parent.close();
    }
  },
};
