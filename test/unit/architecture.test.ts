import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const sourceRoot = join(import.meta.dirname, '../../src');

/** What each room may import besides itself and model. The composition roots (main, roles and cli) may import nearly every room. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  model: [],
  host: [],
  config: [],
  observe: [],
  backends: ['host'],
  volumes: ['backends', 'host', 'config'],
  kube: [],
  csi: ['host'],
  kubelet: ['host'],
  claims: ['kube'],
  provisioner: ['claims', 'kube'],
  placement: ['claims', 'kube'],
  'lost-nodes': ['claims', 'kube'],
  operator: [],
  embedded: ['kube'],
  roles: [
    'backends',
    'claims',
    'config',
    'csi',
    'host',
    'kube',
    'kubelet',
    'lost-nodes',
    'observe',
    'operator',
    'placement',
    'provisioner',
    'volumes',
  ],
  cli: [
    'config',
    'csi',
    'embedded',
    'host',
    'kube',
    'kubelet',
    'backends',
    'observe',
    'operator',
    'claims',
    'placement',
    'provisioner',
    'roles',
    'volumes',
  ],
};

/** Packages and built-in modules that only some rooms may use for their effects. */
const reserved: readonly (readonly [pattern: RegExp, rooms: readonly string[]])[] = [
  [/^(execa|(node:)?child_process)$/, ['host']],
  [/^@grpc\//, ['csi', 'kubelet']],
  [/^@kubernetes\/client-node$/, ['kube', 'config', 'embedded']],
  [/^undici$/, ['kube', 'embedded']],
  [/^pino$/, ['observe']],
];

const writingCalls =
  /\b(writeFile|appendFile|mkdir|mkdtemp|rm|rmdir|unlink|rename|symlink|link|chmod|chown|lchown|truncate|copyFile|cp|createWriteStream|utimes)(Sync)?\b/;

interface Import {
  readonly file: string;
  readonly room: string;
  readonly target: string;
  readonly isTypeOnly: boolean;
  readonly names: string;
}

const imports = sourceFiles(sourceRoot).flatMap(importsOf);

describe('the rooms of src', () => {
  it('import one another in one direction only', () => {
    const broken = imports.filter(({ room, target, file }) => {
      const other = roomOf(target, file);
      return (
        other !== undefined &&
        other !== room &&
        room !== 'main' &&
        other !== 'model' &&
        !mayImport[room]?.includes(other)
      );
    });
    expect(broken.map(said)).toEqual([]);
  });

  it('are all known to this test', () => {
    const rooms = readdirSync(sourceRoot, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(rooms.map(({ name }) => name).filter((name) => !(name in mayImport))).toEqual([]);
  });

  it.each(reserved)('keep %s to its rooms', (pattern, rooms) => {
    const broken = imports.filter(
      ({ target, room, isTypeOnly }) => pattern.test(target) && !isTypeOnly && !rooms.includes(room),
    );
    expect(broken.map(said)).toEqual([]);
  });

  it('write to the file system in host only', () => {
    const broken = imports.filter(
      ({ target, room, names }) =>
        /^node:fs(\/promises)?$/.test(target) && room !== 'host' && writingCalls.test(names),
    );
    expect(broken.map(said)).toEqual([]);
  });

  it('do without `using`, which Node 22 cannot parse', () => {
    const declares = /^\s*(await\s+using|using)\s+[\w$]+\s*=|\(\s*(await\s+)?using\s+[\w$]+\s+of\b/m;
    expect(sourceFiles(sourceRoot).filter((file) => declares.test(readFileSync(file, 'utf8')))).toEqual([]);
    for (const text of [
      '  using lock = take();',
      'await using world = x;',
      'for (using a of b)',
      'for (await using a of b)',
    ])
      expect(text).toMatch(declares);
  });

  it('have no file over 400 lines and no name that hides what a file is for', () => {
    const files = sourceFiles(sourceRoot).map((file) => ({
      file,
      lines: readFileSync(file, 'utf8').split('\n').length - 1,
    }));
    expect(files.filter(({ lines }) => lines > 400)).toEqual([]);
    expect(
      files.filter(({ file }) =>
        /(utils?|helpers?|common|misc|manager)(\.|\/)/i.test(relative(sourceRoot, file)),
      ),
    ).toEqual([]);
  });
});

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'generated') return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? sourceFiles(path) : path.endsWith('.ts') ? [path] : [];
  });
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(
    /^(?:import|export)\s+(type\s+)?(?:([{*\w$][^;'"()]*?)\s*from\s+)?['"]([^'"]+)['"]/gm,
  );
  const dynamic = text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g);
  const room = relative(sourceRoot, file).includes('/')
    ? (relative(sourceRoot, file).split('/')[0] ?? '')
    : 'main';
  return [
    ...[...found].map(([, type, names = '', target = '']) => ({
      file,
      room,
      target,
      names,
      isTypeOnly: type !== undefined,
    })),
    ...[...dynamic].map(([, target = '']) => ({ file, room, target, names: '*', isTypeOnly: false })),
  ];
}

function roomOf(target: string, from: string): string | undefined {
  if (!target.startsWith('.')) return undefined;
  const path = relative(sourceRoot, join(dirname(from), target));
  return path.startsWith('..') ? undefined : path.includes('/') ? path.split('/')[0] : 'main';
}

function said({ file, target, names }: Import): string {
  return `${relative(sourceRoot, file)} imports ${names} from ${target}`;
}
