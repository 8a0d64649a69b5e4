import { readFile } from 'node:fs/promises';
import { kindAt } from '../../host/path-facts.ts';
import type { Step } from './step.ts';

/** The uid map of a process that is in no user namespace of its own. */
const wholeMap = /^\s*0\s+0\s+4294967295\s*$/;

/** What this machine, or this user, cannot have, with the reason for people. */
export async function missingHere(): Promise<ReadonlyMap<NonNullable<Step['needs']>, string>> {
  const map = await readFile('/proc/self/uid_map', 'utf8');
  if (!wholeMap.test(map))
    return new Map([
      ['loop devices', 'a user namespace has no loop devices; run it as root to see these steps'],
    ]);
  if ((await kindAt('/dev/loop-control')) === 'absent')
    return new Map([['loop devices', 'there is no /dev/loop-control here']]);
  return new Map();
}
