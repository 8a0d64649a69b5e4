import { describe, expect, it } from 'vitest';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { backOffMs, entryName, methodOf, parseEntryName } from '../../../src/volumes/trash/trash-entry.ts';

describe('the names of entries', () => {
  it.each(['pvc-1', 'a.b.1', 'h-0'])('keep the id %s and the time', (text) => {
    expect(parseEntryName(entryName(volumeIdOf(text), 1_700_000_000_000))).toEqual({
      id: volumeIdOf(text),
      timeMs: 1_700_000_000_000,
    });
  });

  it.each(['pvc-1', 'pvc-1.', '.5', 'PVC.5', 'a..5', 'lost+found', '.tmp-abc'])('are not %s', (text) => {
    expect(parseEntryName(text)).toBeUndefined();
  });
});

describe('the wait between attempts', () => {
  it('doubles from one second to five minutes', () => {
    expect([1, 2, 3, 9, 10, 1000].map(backOffMs)).toEqual([1000, 2000, 4000, 256_000, 300_000, 300_000]);
  });
});

describe('the end of an entry', () => {
  it('scrubs an entry whose record is damaged, since it may have asked for that', () => {
    expect(methodOf({ kind: 'unreadable', why: 'x' })).toEqual({ kind: 'scrub', how: 'zero' });
  });
});
