import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventReasons } from '../../src/claims/event-reasons.ts';
import { poolOptions } from '../../src/config/pool-config.ts';
import { settings } from '../../src/config/settings.ts';
import { knownParameters } from '../../src/model/class-parameters.ts';
import { mutableKeys } from '../../src/model/mutable-parameters.ts';
import { metricHelp } from '../../src/observe/metric-help.ts';

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const namesBelow = (path: string): string[] =>
  readdirSync(join(root, path), { recursive: true, encoding: 'utf8' }).map((name) => join(path, name));

const pages = ['README.md', ...namesBelow('docs').filter((name) => name.endsWith('.md'))].map((path) => ({
  path,
  text: read(path),
}));
const docs = pages.map(({ text }) => text).join('\n');
const sources = namesBelow('src')
  .filter((name) => name.endsWith('.ts') && !/src\/(embedded\/|cli\/demo\/|observe\/metric-help)/.test(name))
  .map(read)
  .join('\n');
const scripts = [
  'scripts/demo',
  'scripts/test',
  'scripts/cluster',
  'scripts/bench',
  'deploy/kubectl-loam',
  'Dockerfile',
]
  .map(read)
  .join('\n');

/** Every different match of the first group. */
const found = (text: string, pattern: RegExp): string[] => [
  ...new Set([...text.matchAll(pattern)].map(([, name = '']) => name)),
];

/** The rows of a page's tables, as their cells. */
function rowsOf(path: string): string[][] {
  return read(path)
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

describe('the documentation names what the sources have', () => {
  const reference = rowsOf('docs/reference.md');

  it('every flag with its default and its help, and no other', () => {
    const told = reference.filter(([name = '']) => name.startsWith('`--'));
    const wanted = Object.values<{ flag: string; fallback: string | undefined; help: string }>(settings);
    expect(told).toEqual(
      wanted.map(({ flag, fallback, help }) => [
        `\`--${flag}\``,
        fallback === undefined ? '–' : `\`${fallback}\``,
        help,
      ]),
    );
  });

  it('no flag of Loam that does not exist', () => {
    const known = new Set<string>(Object.values(settings).map(({ flag }) => flag));
    const other = /'([a-z][a-z-]+)': \{ type|\b([a-z]+): \{ type: '(?:string|boolean)'/g;
    for (const [, quoted = '', plain = ''] of sources.matchAll(other)) known.add(quoted || plain);
    const flags = found(docs, /`--(?:no-)?([a-z][a-z-]+)(?:=[^`]*)?`/g);
    const isOfScripts = (flag: string): boolean => scripts.includes(`--${flag}`);
    expect(flags.filter((flag) => !known.has(flag) && !isOfScripts(flag) && !foreign.has(flag))).toEqual([]);
  });

  it('every class parameter, and no other', () => {
    const told = rowsOf('docs/storage-classes.md').flatMap(([names = '']) => found(names, /`([^`]+)`/g));
    expect(new Set(told)).toEqual(new Set([...knownParameters, ...mutableKeys, 'retainFor']));
  });

  it('every option of a pool', () => {
    const usage = /`--pool (\S+)`/.exec(read('docs/pools.md'))?.[1] ?? '';
    expect(found(usage, /,([a-z]+)=/g)).toEqual(poolOptions);
  });

  it('every metric with its help, and no other', () => {
    const told = reference.filter(([name = '']) => /^`[a-z]+_[a-z_]+`$/.test(name));
    expect(told).toEqual(Object.entries(metricHelp).map(([name, help]) => [`\`${name}\``, help]));
    const prefixes = 'loam|csi|controller|csistoragecapacities|rest_client|workqueue|process|nodejs';
    const counted = found(sources, new RegExp(`\\b((?:${prefixes})_[a-z_]+)(?='|: ')`, 'g'));
    expect(counted.toSorted()).toEqual(Object.keys(metricHelp).toSorted());
    const known = new Set(Object.keys(metricHelp));
    expect(
      found(docs, /\b((?:loam|csistoragecapacities)_[a-z_]+)\b/g).filter((name) => !known.has(name)),
    ).toEqual([]);
  });

  it('every reason of an Event, and each of them is used', () => {
    const told = found(reference.map(([name = '']) => name).join(), /`([A-Z][A-Za-z]+)`/g);
    expect(told.toSorted()).toEqual([...new Set<string>(eventReasons)].toSorted());
    const uses = (reason: string): number => sources.split(`'${reason}'`).length - 1;
    expect(eventReasons.filter((reason) => uses(reason) < 2)).toEqual([]);
  });

  it('every key of annotations, labels and attributes, and no other', () => {
    const keys = (text: string): string[] =>
      found(text, /(?:^|[^a-z./])(loam\.dev\/[a-z]+(?:-[a-z]+)*)(?=['`=])/gm);
    const told = keys(reference.map(([name = '']) => name).join());
    expect(told.toSorted()).toEqual(keys(sources).toSorted());
    const known = new Set([...told, 'loam.dev/loam']);
    expect(keys(docs).filter((key) => !known.has(key))).toEqual([]);
  });

  it('pages and headings that are linked to', () => {
    const broken: string[] = [];
    for (const { path, text } of pages) {
      for (const link of found(text, /\]\(([^)]+)\)/g)) {
        if (/^https?:/.test(link)) continue;
        const [file = '', anchor] = link.split('#');
        const target = file === '' ? path : join(path, '..', file);
        const page = pages.find((one) => one.path === target);
        const isThere = page !== undefined || namesBelow('deploy').includes(target);
        const headings = found(page?.text ?? '', /^#+ (.+)$/gm).map(anchorOf);
        if (!isThere || (anchor !== undefined && !headings.includes(anchor))) broken.push(`${path}: ${link}`);
      }
    }
    expect(broken).toEqual([]);
  });
});

/** As GitHub makes them of headings. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}

/** Flags of other programs that the pages name. */
const foreign = new Set([
  'simple',
  'reset-then-reuse-values',
  'bound-object-kind',
  'enable-dynamic-provisioning',
  'node-deployment',
]);
