import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** Runs `work` while no other process of this machine does so under the same path. A lock whose holder is dead is taken over. */
export async function withLockFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  while (!(await take(path))) {
    await breakIfDead(path);
    await sleep(500);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await writeFile(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function breakIfDead(path: string): Promise<void> {
  const holder = Number(await readFile(path, 'utf8').catch(() => ''));
  if (!Number.isInteger(holder) || holder <= 0 || isAlive(holder)) return;
  // only one of several waiters succeeds in moving it away
  const brokenPath = `${path}.${process.pid}`;
  await rename(path, brokenPath).catch(() => {});
  await rm(brokenPath, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
