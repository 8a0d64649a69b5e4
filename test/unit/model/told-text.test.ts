import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toldText } from '../../../src/model/told-text.ts';

const bytesOf = (text: string): number => Buffer.byteLength(text);

describe('a text that people are told', () => {
  it('is left as it is where it is plain and not too long', () => {
    for (const text of ['', 'volume pvc-1: no space left', 'x'.repeat(1024), 'ü'.repeat(512)])
      expect(toldText(text)).toBe(text);
  });

  it('keeps what it is about and what to do, also with the longest names in it', () => {
    const name = (letter: string): string => letter.repeat(253);
    const text = `claim ${name('n')}/${name('c')} of class ${name('k')} on node ${name('d')} is too large; ask for less`;
    const told = toldText(text);
    expect(bytesOf(told)).toBeLessThanOrEqual(1024);
    expect(told).toContain(`claim ${name('n')}/${name('c')} of class `);
    expect(told).toMatch(/d is too large; ask for less$/);
    expect(told).toContain(' … ');
  });

  it('has no more bytes than the API takes, whichever letters they are', () => {
    for (const letter of ['x', 'ü', '語', '🦊'])
      for (const shift of [0, 1, 2, 3]) {
        const told = toldText(`${'x'.repeat(shift)}${letter.repeat(2000)}`);
        expect(bytesOf(told)).toBeLessThanOrEqual(1024);
        expect(bytesOf(told)).toBeGreaterThan(1010);
        expect(told).not.toContain('\ufffd');
      }
  });

  it('is one line that moves no cursor, short, and the same when told again, of whatever it is made', () => {
    const part = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\n', '\u001b[2J', '\ud800', '\u202e', 'x'.repeat(700)),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const told = toldText(parts.join(''));
        expect(bytesOf(told)).toBeLessThanOrEqual(1024);
        // eslint-disable-next-line no-control-regex -- they are what is looked for
        expect(told).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
        expect(told.isWellFormed()).toBe(true);
        expect(toldText(told)).toBe(told);
      }),
      { numRuns: 200 },
    );
  });
});
