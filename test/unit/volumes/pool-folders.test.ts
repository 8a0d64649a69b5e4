import { describe, expect, test } from 'vitest';
import { isLinkable } from '../../../src/volumes/pools/claim-links.ts';
import { decideMarker } from '../../../src/volumes/pools/pool-marker.ts';

describe('a configured folder', () => {
  const fresh = { path: '/p', marker: undefined, knownUuid: undefined, names: [], initialise: true };
  const marker = { schema: 1, uuid: 'u', createdAt: 't' } as const;

  test('with a marker is a pool', () => {
    expect(decideMarker({ ...fresh, marker, knownUuid: 'other' }).kind).toBe('use');
  });
  test('with a marker of another file system is a copy, as far as anybody can tell', () => {
    const made = { ...marker, fileSystem: { type: 'ext4', uuid: 'one' } };
    const on = (fileSystem: { type: string; uuid?: string } | undefined) =>
      decideMarker({ ...fresh, marker: made, fileSystem });
    expect(on({ type: 'ext4', uuid: 'one' }).kind).toBe('use');
    expect(on(undefined).kind).toBe('use');
    for (const other of [
      { type: 'ext4', uuid: 'two' },
      { type: 'ext4' },
      { type: 'xfs', uuid: 'one' },
      { type: 'overlay' },
    ]) {
      expect(on(other)).toMatchObject({
        kind: 'refuse',
        why: expect.stringMatching(/it is a copy.*take the field fileSystem out of/) as unknown,
      });
    }
    expect(decideMarker({ ...fresh, marker, fileSystem: { type: 'xfs', uuid: 'two' } }).kind).toBe('use');
  });
  test('that is empty becomes one where it may', () => {
    expect(decideMarker(fresh).kind).toBe('create');
    expect(decideMarker({ ...fresh, names: ['lost+found'] }).kind).toBe('create');
    expect(decideMarker({ ...fresh, initialise: false })).toMatchObject({
      kind: 'refuse',
      why: expect.stringMatching(/initialise/) as unknown,
    });
  });
  test('that is not empty never becomes one', () => {
    expect(decideMarker({ ...fresh, names: ['home'] })).toMatchObject({
      kind: 'refuse',
      why: expect.stringMatching(/not empty \(home\)/) as unknown,
    });
  });
  test('that was a pool and has no marker is a disk that is not mounted', () => {
    expect(decideMarker({ ...fresh, knownUuid: 'u' })).toMatchObject({
      kind: 'refuse',
      why: expect.stringMatching(/not mounted/) as unknown,
    });
  });
});

test.each([
  ['team', 'data', true],
  ['team', 'data-web-0.x', true],
  ['..', 'data', false],
  ['team', '..', false],
  ['team', 'a/b', false],
  ['Team', 'data', false],
  ['team', '', false],
])('claim %s/%s becomes a link: %s', (namespace, name, expected) => {
  expect(isLinkable({ namespace, name })).toBe(expected);
});
