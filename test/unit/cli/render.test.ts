import { describe, expect, it, vi } from 'vitest';
import { readAdoptCommand } from '../../../src/cli/adopt.ts';
import { gc, renderPlan } from '../../../src/cli/gc.ts';
import { renderTable } from '../../../src/cli/render-table.ts';
import { terminal, type Terminal } from '../../../src/cli/run-command.ts';
import { readTarget, runUndelete } from '../../../src/cli/undelete/run-undelete.ts';
import { renderVolumes, volumes } from '../../../src/cli/volumes.ts';
import type { Finding, VolumeRow } from '../../../src/operator/report.ts';

const finding: Finding = {
  kind: 'orphan',
  id: 'pvc-uid-1',
  pool: 'fast',
  sizeBytes: '1073741824',
  claim: 'shop/data',
  reason: 'made for claim shop/data; its PersistentVolume is gone',
  action: 'loam adopt pvc-uid-1 or loam gc --remove pvc-uid-1',
  byItself: false,
};
const row: VolumeRow = {
  volumeId: 'pvc-uid-1',
  pool: 'fast',
  backend: 'loopback',
  accessType: 'mount',
  sizeBytes: '1073741824',
  claim: 'shop/data',
  persistentVolume: 'pvc-uid-1',
  phase: 'Bound',
  state: 'ready',
  usedBy: [],
  remark: '',
};

function recorder(): Terminal & { readonly outs: string[]; readonly errs: string[] } {
  const outs: string[] = [];
  const errs: string[] = [];
  return { outs, errs, out: (text) => outs.push(text), err: (text) => errs.push(text) };
}

describe('a table', () => {
  it('has columns as wide as needed, no blanks at the end and a dash for nothing', () => {
    expect(
      renderTable(
        ['A', 'LONG HEAD'],
        [
          ['wide cell', ''],
          ['x', 'y'],
        ],
      ),
    ).toBe(['A          LONG HEAD', 'wide cell  -', 'x          y'].join('\n'));
  });

  it('keeps a line a line, and tells a terminal nothing', () => {
    expect(renderTable(['A'], [['one\ntwo\u001b[2Jthree\u202efour']])).toBe('A\none two [2Jthree four');
  });

  it('is made of any number of rows', () => {
    const rows = Array.from({ length: 200_000 }, () => ['x']);
    expect(renderTable(['LONG'], rows).split('\n')).toHaveLength(200_001);
  });
});

describe('what is written to a terminal', () => {
  it.each(['out', 'err'] as const)('on %s has the lines that it has, and moves no cursor', (stream) => {
    const written = vi.spyOn(console, stream === 'out' ? 'log' : 'error').mockImplementation(() => {});
    try {
      terminal[stream]('claim a\u001b[2J\u202eb\nis gone');
      expect(written.mock.calls).toEqual([['claim a\\u001b[2J\\u202eb\nis gone']]);
      terminal[stream](JSON.stringify({ why: 'a\u009bb' }));
      expect(JSON.parse(String(written.mock.calls[1]))).toEqual({ why: 'a\u009bb' });
    } finally {
      written.mockRestore();
    }
  });
});

describe('the plan', () => {
  it('ends with how many things there are, by kind, and how many wait for a person', () => {
    const swept: Finding = { ...finding, kind: 'trash', id: 'v-2', byItself: true };
    const text = renderPlan({ node: 'node-a', findings: [finding, swept, finding], warnings: [] });
    expect(text.split('\n').at(-1)).toBe(
      'node node-a: 3 things: 2 orphan, 1 trash; 2 for a person to decide',
    );
    expect(text).toContain('orphan  pvc-uid-1  fast  1 GiB  shop/data  no');
    expect(text).toContain(
      'pvc-uid-1: made for claim shop/data; its PersistentVolume is gone\n  loam adopt pvc-uid-1 or',
    );
  });

  it('tells a terminal nothing that a name on a disk says', () => {
    const stray: Finding = { ...finding, kind: 'stray', id: 'a\u001b[2Jb', reason: 'c\nd\u001b[31m' };
    const text = renderPlan({ node: 'node-a', findings: [stray], warnings: ['pool a\u001b[2J\nb'] });
    expect(text).not.toContain('\u001b');
    expect(text).toContain('warning: pool a [2J b\n');
    expect(text).toContain('a [2Jb: c d [31m\n  loam adopt');
  });

  it('of nothing says so, and how far that goes', () => {
    expect(renderPlan({ node: 'node-a', findings: [], warnings: [] })).toBe('node node-a: nothing to do');
    expect(renderPlan({ node: 'node-a', findings: [], warnings: ['pool slow is not open'] })).toBe(
      'warning: pool slow is not open\nnode node-a: nothing to do, as far as can be told',
    );
  });
});

describe('the list of volumes', () => {
  it('has sizes and users for people, remarks below, and a sum', () => {
    const uid = '0123abcd-0000-0000-0000-000000000000';
    const used = {
      ...row,
      usedBy: ['/k/globalmount', `/k/pods/${uid}/volumes/x`, `/k/pods/${uid}/volumes/y`],
    };
    const orphan = {
      ...row,
      volumeId: 'v-2',
      persistentVolume: '',
      phase: '',
      state: 'orphan' as const,
      remark: 'its PV\u009b\nis gone',
    };
    const staged = { ...row, volumeId: 'v-3', accessType: 'block', usedBy: ['/k/globalmount'] };
    const text = renderVolumes({
      node: 'node-a',
      volumes: [used, orphan, staged],
      warnings: ['pool slow is not open'],
    });
    const [, first, second, third, , ...rest] = text.split('\n');
    expect(first?.replaceAll(/ {2,}/g, '|')).toBe(
      `pvc-uid-1|fast|loopback|1 GiB|shop/data|pvc-uid-1|Bound|pod ${uid}`,
    );
    expect(second?.replaceAll(/ {2,}/g, '|')).toBe('v-2|fast|loopback|1 GiB|shop/data|-|orphan|-');
    expect(third?.replaceAll(/ {2,}/g, '|')).toBe(
      'v-3|fast|loopback (block)|1 GiB|shop/data|pvc-uid-1|Bound|staged',
    );
    expect(rest).toEqual([
      'warning: pool slow is not open',
      'v-2: its PV is gone',
      '3 volumes on node node-a, 3 GiB promised, 2 in use',
    ]);
  });

  it('of none says so', () => {
    expect(renderVolumes({ node: 'node-a', volumes: [], warnings: [] })).toBe('no volumes on node node-a');
  });
});

describe('a command line', () => {
  it.each<[string, (to: Terminal) => Promise<number>, RegExp]>([
    ['an unknown flag', (to) => gc(['--all'], to), /Unknown option '--all'/],
    ['two things to remove', (to) => gc(['--remove', 'v', '--archive', 'w'], to), /give one of them/],
    ['a rehearsed removal', (to) => gc(['--remove', 'v', '--dry-run'], to), /--dry-run removes nothing/],
    ['two things to give up', (to) => gc(['--remove', 'v', '--forget', 'v'], to), /give one of them/],
    ['a rehearsed forgetting', (to) => gc(['--forget', 'v', '--dry-run'], to), /--dry-run removes nothing/],
    ['the forgetting of no volume', (to) => gc(['--forget', '../v', '--yes'], to), /no volume id/],
    ['what is no volume', (to) => gc(['--remove', '../v', '--yes'], to), /no volume id/],
    ['an argument of gc', (to) => gc(['v'], to), /takes no argument/],
    ['a strange output', (to) => volumes(['--output', 'xml'], to), /it can be table or json/],
    ['no PV to undelete', (to) => runUndelete([], to), /name the PersistentVolume/],
    [
      'two PVs to undelete',
      (to) => runUndelete(['a', 'b'], to),
      /one PersistentVolume at a time; b is too much/,
    ],
    ['a claim that is none', (to) => runUndelete(['a', '--to', 'a/b/c'], to), /write it as namespace\/name/],
  ])('with %s is told with the usage, and exit code 2', async (_, run, message) => {
    const to = recorder();
    expect(await run(to)).toBe(2);
    expect(to.errs.join('\n')).toMatch(message);
    expect(to.errs.join('\n')).toContain('\n\nloam ');
    expect(to.outs).toEqual([]);
  });

  it('asks for help on its own', async () => {
    const to = recorder();
    expect(await Promise.all([gc(['--help'], to), volumes(['-h'], to), runUndelete(['--help'], to)])).toEqual(
      [0, 0, 0],
    );
    expect(to.outs.map((text) => text.split(' ').slice(0, 2).join(' '))).toEqual([
      'loam gc',
      'loam volumes',
      'loam undelete',
    ]);
  });

  it('names a claim with its namespace, or without', () => {
    expect(readTarget('shop/data')).toEqual({ namespace: 'shop', name: 'data' });
    expect(readTarget('data')).toEqual({ name: 'data' });
  });

  it('says what is to be adopted', () => {
    expect(readAdoptCommand('/pools/fast/old', {})).toEqual({
      path: '/pools/fast/old',
      policy: 'Retain',
      apply: false,
    });
    expect(
      readAdoptCommand('pvc-1', { claim: 'shop/data', class: 'fast', policy: 'Delete', apply: true }),
    ).toEqual({
      volumeId: 'pvc-1',
      claim: { namespace: 'shop', name: 'data' },
      className: 'fast',
      policy: 'Delete',
      apply: true,
    });
    expect(readAdoptCommand('/pools/fast/old', { size: '10Gi' })).toMatchObject({ sizeBytes: '10737418240' });
    expect(() => readAdoptCommand('v', { size: '10Gi' })).toThrow(/--size is for a folder/);
    expect(() => readAdoptCommand('/pools/fast/old', { size: 'much' })).toThrow(/"much" is not a size/);
    expect(() => readAdoptCommand('Pool/x', {})).toThrow(/neither an absolute path nor a volume id/);
    expect(() => readAdoptCommand('v', { policy: 'Keep' })).toThrow(/--policy Keep/);
  });

  it('is told a sentence where the node does not listen', async () => {
    const to = recorder();
    expect(await gc(['--run-dir', '/nowhere'], to)).toBe(1);
    expect(to.errs).toEqual([
      expect.stringMatching(/^loam gc: the node's process at \/nowhere\/operator\.sock does not listen/),
    ]);
  });
});
