import { readdirSync, readFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { changing, changingByHandle } from './interposer/file-steps.ts';

const sources = fileURLToPath(new URL('../../src', import.meta.url));

/** They look and change nothing; `open` and `opendir` are seen where they may make something. */
const looking = words('access glob lstat open opendir readFile readdir readlink realpath stat statfs watch');
const lookingByHandle = words(
  'close createReadStream getAsyncId read readFile readLines readableWebStream readv stat',
);
/** There are such functions; nobody here uses them, and the interposer does not know them. */
const unused = ['lchmod', 'constants'];
const unusedByHandle = ['createWriteStream', 'constructor', 'fd'];

describe('the list of steps at which a process can die', () => {
  it('has everything by which Node changes a file system', async () => {
    const known = [...changing, ...looking, ...unused];
    expect(Object.keys(promises).filter((name) => !known.includes(name as never))).toEqual([]);
    const handle = await promises.open('/dev/null');
    await handle.close();
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(handle));
    const knownMethods: readonly string[] = [...changingByHandle, ...lookingByHandle, ...unusedByHandle];
    expect(methods.filter((name) => !knownMethods.includes(name))).toEqual([]);
  });

  it('misses nothing that the sources use', () => {
    const files = readdirSync(sources, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !file.startsWith('cli/demo/'),
    );
    const allowed: Readonly<Record<string, readonly string[]>> = {
      'node:fs': words('constants existsSync readFileSync readdirSync readlinkSync realpathSync statSync'),
      'node:fs/promises': [...changing, ...looking],
      'node:child_process': ['spawn'],
    };
    const unseen = files.flatMap((file) => {
      const text = readFileSync(join(sources, file), 'utf8');
      return [
        ...text.matchAll(/^import (?!type)([^;]+?) from '(node:(?:fs|fs\/promises|child_process))';$/gm),
      ].flatMap(([, what = '', from = '']) =>
        namesOf(what)
          .filter((name) => allowed[from]?.includes(name) !== true)
          .map((name) => `${file}: ${name} of ${from}`),
      );
    });
    expect(unseen).toEqual([]);
  });
});

/** Of `{ a, type B, c as d }`; whatever else is imported, such as a whole module, as it is. */
function namesOf(what: string): readonly string[] {
  const braces = /^\{([^}]+)\}$/.exec(what.trim());
  if (braces === null) return [what];
  return (braces[1] ?? '')
    .split(',')
    .map((name) => name.trim().replace(/ as .*$/, ''))
    .filter((name) => name !== '' && !name.startsWith('type '));
}

function words(text: string): readonly string[] {
  return text.split(' ');
}
