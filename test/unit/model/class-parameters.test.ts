import { describe, expect, it } from 'vitest';
import { parseClassParameters } from '../../../src/model/class-parameters.ts';

describe('the parameters of a class', () => {
  it('ask for an enforced limit on the best backend when nothing is said', () => {
    expect(parseClassParameters({})).toEqual({
      backend: 'auto',
      provisioning: 'thin',
      limit: 'enforced',
      onDelete: 'delete',
      scrub: 'zero',
      retainForMs: 0,
      onRelease: 'keep',
      adopt: 'never',
      onNodeLoss: 'keep',
      sharing: 'none',
      consistency: 'refuse',
    });
  });

  it('are read in full', () => {
    const parameters = {
      backend: 'loopback',
      pool: 'fast',
      'csi.storage.k8s.io/fstype': 'xfs',
      provisioning: 'thick',
      limit: 'enforced',
      mode: '2770',
      uid: '1000',
      gid: '0',
      onDelete: 'scrub',
      scrub: 'random',
      retainFor: '1d12h',
      onRelease: 'keep',
      adopt: 'by-name',
      onNodeLoss: 'release-after 24h',
      sharing: 'node',
      consistency: 'accept',
    };
    expect(parseClassParameters(parameters)).toEqual({
      backend: 'loopback',
      pool: 'fast',
      fsType: 'xfs',
      provisioning: 'thick',
      limit: 'enforced',
      mode: 0o2770,
      uid: 1000,
      gid: 0,
      onDelete: 'scrub',
      scrub: 'random',
      retainForMs: 36 * 3_600_000,
      onRelease: 'keep',
      adopt: 'by-name',
      onNodeLoss: 'release-after 24h',
      sharing: 'node',
      consistency: 'accept',
    });
  });

  it('pass over the metadata that Kubernetes and the loop add', () => {
    const parameters = {
      'csi.storage.k8s.io/pvc/name': 'data',
      'loam.dev/claim-uid': 'u',
      'csi.storage.k8s.io/node-stage-secret-name': 's',
    };
    expect(parseClassParameters(parameters)).toEqual(parseClassParameters({}));
  });

  it.each([
    [{ limits: 'advisory' }, /unknown class parameter "limits"; known are backend, pool/],
    [{ __proto__x: '' }, /unknown class parameter/],
    [{ constructor: 'x' }, /unknown class parameter "constructor"/],
    [{ backend: 'disk' }, /mount disks in the discovery folder/],
    [{ backend: 'zfs' }, /backend is "zfs"; it can be auto, directory, loopback/],
    [{ 'csi.storage.k8s.io/fstype': 'ntfs' }, /fstype is "ntfs"; it can be ext4, xfs, btrfs/],
    [{ mode: '9' }, /mode is "9"; it takes octal bits/],
    [{ mode: '77777' }, /octal/],
    [{ uid: '-1' }, /uid is "-1"/],
    [{ gid: '4294967295' }, /gid is "4294967295"; it takes a number from 0 to 4294967294/],
    [{ pool: '' }, /pool is empty/],
    [{ retainFor: '24' }, /retainFor: "24" is not a duration/],
    [{ onRelease: 'recycle', retainFor: '1h' }, /remove one of them/],
    [{ adopt: 'yes' }, /adopt is "yes"; it can be never, by-name/],
    [{ onNodeLoss: 'release' }, /onNodeLoss is "release"; it can be keep, release-after 24h/],
    [{ onNodeLoss: 'recreate-empty 10' }, /"10" is not a duration/],
    [{ scrub: 'zero' }, /does nothing without onDelete: scrub/],
    [{ backend: 'directory', provisioning: 'thick' }, /thick needs an image/],
  ])('refuse %j and say why', (parameters, message) => {
    expect(() => parseClassParameters(parameters)).toThrow(message);
  });
});
