import { describe, expect, test } from 'vitest';
import { isLinkable } from '../../../src/volumes/pools/claim-links.ts';
import { decideMarker } from '../../../src/volumes/pools/pool-marker.ts';

describe('a configured folder', () => {
  const fresh = { path: '/p', marker: undefined, knownUuid: undefined, names: [], initialise: true };
  const marker = { schema: 1, uuid: 'u', createdAt: 't' } as const;

  test('with a marker is a pool', () => {
    expect(decideMarker({ ...fresh, marker, knownUuid: 'other' }).kind).toBe('use');
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
