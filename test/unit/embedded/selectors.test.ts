import { describe, expect, it } from 'vitest';
import { resourceOf } from '../../../src/embedded/resources.ts';
import { parseLabelSelector, parseSelectors } from '../../../src/embedded/selectors.ts';
import type { StoredObject } from '../../../src/embedded/stored-object.ts';
import { ageText } from '../../../src/embedded/table-columns.ts';

describe('label selectors', () => {
  const labels = { app: 'web', 'loam.dev/node': 'a' };
  it.each([
    ['', true],
    ['app=web', true],
    ['app==web,loam.dev/node=a', true],
    ['app!=web', false],
    ['other!=web', true],
    ['app in (db, web)', true],
    ['app notin (db,web)', false],
    ['other notin (x)', true],
    ['app', true],
    ['!app', false],
    ['!other,app in (web,db),loam.dev/node', true],
  ])('%s → %s', (text, expected) => expect(parseLabelSelector(text)(labels)).toBe(expected));

  it('refuses what nobody can read', () =>
    expect(() => parseLabelSelector('a=b=c')).toThrow('unable to parse'));
});

describe('field selectors', () => {
  const event = {
    metadata: { name: 'e', namespace: 'default' },
    involvedObject: { kind: 'PersistentVolumeClaim', name: 'data' },
    reason: 'Provisioning',
  } as unknown as StoredObject;
  const select = (fieldSelector: string) => parseSelectors(resourceOf('Event'), { fieldSelector })(event);

  it('looks at the name and at what an event is about', () => {
    expect(select('metadata.name=e,involvedObject.name=data,involvedObject.kind!=Pod')).toBe(true);
    expect(select('involvedObject.name=other')).toBe(false);
    expect(select('reason=Provisioning')).toBe(true);
  });

  it('refuses fields that a real server does not select by', () => {
    expect(() =>
      parseSelectors(resourceOf('PersistentVolume'), { fieldSelector: 'spec.storageClassName=a' }),
    ).toThrow('field label not supported: spec.storageClassName');
  });
});

describe('ages', () => {
  const now = Date.parse('2026-01-10T00:00:00Z');
  it.each([
    [5, '5s'],
    [119, '119s'],
    [184, '3m4s'],
    [600, '10m'],
    [3 * 3600, '3h'],
    [5 * 3600 + 600, '5h10m'],
    [9 * 3600, '9h'],
    [3 * 86400 + 4 * 3600, '3d4h'],
    [9 * 86400, '9d'],
  ])('%d seconds are %s', (seconds, text) => {
    expect(ageText(new Date(now - seconds * 1000).toISOString(), now)).toBe(text);
  });
});
