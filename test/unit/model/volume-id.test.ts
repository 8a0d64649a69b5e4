import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVolumeId, volumeIdOf } from '../../../src/model/volume-id.ts';

describe('a volume id', () => {
  it.each([
    '',
    '.',
    '..',
    'a..b',
    '/etc',
    'a/b',
    'a\0b',
    'Ä',
    'A',
    '-a',
    'a-',
    '.a',
    'a'.repeat(129),
    'a b',
    'a\n',
    '名',
  ])('is never %j', (text) => {
    expect(isVolumeId(text)).toBe(false);
  });

  it('is the CSI name where that is one', () => {
    expect(volumeIdOf('pvc-0a1b2c')).toBe('pvc-0a1b2c');
  });

  it('is one safe path component for any name, the same each time, another for another name', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (name, other) => {
        const id = volumeIdOf(name);
        expect(isVolumeId(id)).toBe(true);
        expect(volumeIdOf(name)).toBe(id);
        if (other !== name) expect(volumeIdOf(other)).not.toBe(id);
      }),
    );
  });
});
