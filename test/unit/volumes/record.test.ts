import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isReason } from '../../../src/model/errors.ts';
import { maxInt64 } from '../../../src/model/quantity.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { formatRecord, parseRecord, type VolumeRecord } from '../../../src/volumes/records/record.ts';

const record: VolumeRecord = {
  schema: 1,
  name: 'pvc-1',
  state: 'ready',
  spec: {
    id: volumeIdOf('pvc-1'),
    backend: 'loopback',
    accessType: 'mount',
    sizeBytes: 1n << 40n,
    fsType: 'ext4',
    provisioning: 'thin',
    limit: 'enforced',
    mode: 0o2770,
    uid: 0,
    gid: 1000,
  },
  parameters: { backend: 'loopback' },
  onDelete: 'scrub',
  scrub: 'random',
  sharing: 'none',
  claim: { namespace: 'team', name: 'data', uid: 'u-1' },
  clusterUid: 'c-1',
  createdAtMs: 1_700_000_000_000,
  acknowledged: false,
};

describe('a record', () => {
  test('is the same after it was written and read', () => {
    expect(parseRecord(formatRecord(record), 'x')).toEqual(record);
  });

  test('of a mounted disk says which it is and where, and is damaged where that is no plain name', () => {
    const disk = { entry: 'sdb', type: 'xfs', uuid: '0f6e' };
    const { fsType: _, ...spec } = record.spec;
    const ofDisk: VolumeRecord = { ...record, spec: { ...spec, backend: 'disk', disk } };
    expect(parseRecord(formatRecord(ofDisk), 'x')).toEqual(ofDisk);
    for (const entry of ['..', '.hidden', 'a/b', '/etc', '', 'a\n', 'x'.repeat(256)]) {
      const text = formatRecord({ ...ofDisk, spec: { ...ofDisk.spec, disk: { ...disk, entry } } });
      expect(() => parseRecord(text, '/pool/x')).toThrow(/\/pool\/x.*entry/);
    }
    const { disk: _disk, ...without } = ofDisk.spec;
    expect(() => parseRecord(formatRecord({ ...ofDisk, spec: without }), '/pool/x')).toThrow(/disk/);
  });

  test('keeps the pod of an inline volume', () => {
    const owner = { namespace: 'team', name: 'web-0', uid: 'u-2', targetPath: '/kubelet/pods/u-2/mount' };
    const inline = { ...record, inline: owner };
    expect(parseRecord(formatRecord(inline), 'x')).toEqual(inline);
  });

  test('keeps any size, name and parameter', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: maxInt64 }),
        fc.string({ minLength: 1 }),
        fc.dictionary(fc.string(), fc.string()),
        (sizeBytes, name, parameters) => {
          const any = {
            ...record,
            name,
            parameters,
            spec: { ...record.spec, sizeBytes, id: volumeIdOf(name) },
          };
          expect(parseRecord(formatRecord(any), 'x')).toEqual(any);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('has no optional field where there is nothing to say', () => {
    const { claim: _claim, clusterUid: _uid, ...bare } = record;
    const { fsType: _fs, mode: _mode, uid: _u, gid: _g, ...spec } = record.spec;
    const small: VolumeRecord = { ...bare, spec };
    expect(parseRecord(formatRecord(small), 'x')).toEqual(small);
  });

  test('is read when a newer version added a field', () => {
    const newer = JSON.stringify({ ...(JSON.parse(formatRecord(record)) as object), flavour: 'mint' });
    expect(parseRecord(newer, 'x')).toEqual(record);
  });

  test.each([
    ['', 'is empty'],
    ['{"schema":1', 'is not JSON'],
    ['[]', 'no JSON object'],
    [formatRecord(record).replace('"schema": 1', '"schema": 2'), 'schema 2'],
    [formatRecord(record).replace('"ready"', '"raedy"'), 'state'],
    [formatRecord(record).replace('"pvc-1",\n    "backend"', '"../etc",\n    "backend"'), 'spec.id'],
    [formatRecord(record).replace(`"${1n << 40n}"`, '"-1"'), 'spec.sizeBytes'],
    [formatRecord(record).replace('"2770"', '"9"'), 'spec.mode'],
    [formatRecord(record).replace('"acknowledged": false', '"acknowledged": 0'), 'acknowledged'],
  ])('that is damaged is named with its path and its fault (%#)', (text, fault) => {
    expect(() => parseRecord(text, '/pool/volumes/a/volume.json')).toThrow(fault);
    try {
      parseRecord(text, '/pool/volumes/a/volume.json');
    } catch (error) {
      expect(isReason(error, 'data-loss')).toBe(true);
      expect(String(error)).toContain('/pool/volumes/a/volume.json');
    }
  });
});
