import { describe, expect, it } from 'vitest';
import { mayHaveNested, parseChildren } from '../../../src/host/nested-subvolumes.ts';

describe('what btrfs lists', () => {
  it('is read into who may lie in whom', () => {
    const children = parseChildren(
      'ID 256 gen 33 parent 5 top level 5 path v1\nID 265 gen 35 parent 256 top level 256 path v1/n\n',
    );
    expect([...(children.get(5n) ?? [])]).toEqual([256n]);
    expect([...(children.get(256n) ?? [])]).toEqual([265n]);
    expect(mayHaveNested(children, 256n)).toBe(true);
    expect(mayHaveNested(children, 265n)).toBe(false);
  });

  it('never hides a true line behind one that a name pretends to be', () => {
    const children = parseChildren(
      [
        'ID 300 gen 1 parent 256 top level 256 path a',
        'ID 300 gen 1 parent 999 top level 999 path pretended',
        'ID 301 gen 1 parent 300 top level 300 path b',
      ].join('\n'),
    );
    expect(children.get(256n)?.has(300n)).toBe(true);
    expect(children.get(300n)?.has(301n)).toBe(true);
  });

  it('passes over what is no line of a list', () => {
    expect(parseChildren('').size).toBe(0);
    expect(parseChildren('ID x gen 1 parent 5 top level 5 path a\nnoise ID 3 gen').size).toBe(0);
  });
});
