import { describe, expect, it } from 'vitest';
import type { ControllerCapability } from '../../../src/model/csi-driver.ts';
import { buildCreateRequest } from '../../../src/provisioner/build-create-request.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { own } from './own-side.ts';

const capabilities: ReadonlySet<ControllerCapability> = new Set([
  'CREATE_DELETE_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
]);

function build(input: Partial<Parameters<typeof buildCreateRequest>[0]> = {}) {
  return buildCreateRequest({
    claim: aClaim(),
    storageClass: aStorageClass(),
    capabilities,
    own,
    clusterUid: 'cluster-1',
    ...input,
  });
}
const withParameters = (parameters: Record<string, string>) =>
  build({ storageClass: aStorageClass({ parameters }) });
const requestOf = (built: ReturnType<typeof build>) => {
  if (built.kind !== 'built') throw new Error(built.reason);
  return built.request;
};

describe('buildCreateRequest', () => {
  it('asks for what claim and class say, on this node', () => {
    const storageClass = aStorageClass({
      parameters: { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'xfs' },
      mountOptions: ['noatime'],
    });
    expect(build({ storageClass })).toEqual({
      kind: 'built',
      fsType: 'xfs',
      request: {
        name: 'pvc-uid-1',
        capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
        capabilities: [
          {
            accessMode: 'SINGLE_NODE_MULTI_WRITER',
            access: { kind: 'mount', fsType: 'xfs', mountFlags: ['noatime'] },
          },
        ],
        parameters: {
          backend: 'loopback',
          'csi.storage.k8s.io/pvc/name': 'data',
          'csi.storage.k8s.io/pvc/namespace': 'shop',
          'csi.storage.k8s.io/pv/name': 'pvc-uid-1',
          'loam.dev/claim-uid': 'uid-1',
          'loam.dev/class-name': 'fast',
          'loam.dev/cluster-uid': 'cluster-1',
        },
        accessibility: {
          requisite: [{ 'topology.loam.dev/node': 'node-a' }],
          preferred: [{ 'topology.loam.dev/node': 'node-a' }],
        },
      },
    });
  });

  it('asks for one capability a mode, and for a block device without a file system', () => {
    const claim = aClaim({
      spec: {
        volumeMode: 'Block',
        accessModes: ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod'],
      },
    });
    const storageClass = aStorageClass({ parameters: { 'csi.storage.k8s.io/fstype': 'ext4' } });
    const built = build({ claim, storageClass });
    expect(built).toMatchObject({ fsType: '' });
    expect(requestOf(built).capabilities).toEqual([
      { accessMode: 'SINGLE_NODE_MULTI_WRITER', access: { kind: 'block' } },
      { accessMode: 'MULTI_NODE_READER_ONLY', access: { kind: 'block' } },
      { accessMode: 'MULTI_NODE_MULTI_WRITER', access: { kind: 'block' } },
      { accessMode: 'SINGLE_NODE_SINGLE_WRITER', access: { kind: 'block' } },
    ]);
  });

  it('speaks of single writers as older drivers know them', () => {
    const built = build({ capabilities: new Set(['CREATE_DELETE_VOLUME']) });
    expect(requestOf(built).capabilities[0]?.accessMode).toBe('SINGLE_NODE_WRITER');
  });

  it('rounds the size up to whole bytes', () => {
    const claim = aClaim({ spec: { resources: { requests: { storage: '1500m' } } } });
    expect(requestOf(build({ claim })).capacityRange.requiredBytes).toBe(2n);
  });

  it('strips what only the provisioner reads, secrets included', () => {
    const built = withParameters({
      limit: 'advisory',
      'csi.storage.k8s.io/secret-name': 's',
      'csi.storage.k8s.io/node-stage-secret-namespace': 'n',
      'csi.storage.k8s.io/controller-expand-secret-name': 's',
    });
    expect(Object.keys(requestOf(built).parameters).filter((key) => key.includes('secret'))).toEqual([]);
    expect(requestOf(built).parameters).toMatchObject({ limit: 'advisory' });
  });

  it('does not let a class pretend to be a claim or a cluster', () => {
    const storageClass = aStorageClass({
      parameters: { 'loam.dev/claim-uid': 'x', 'loam.dev/cluster-uid': 'y' },
    });
    const { parameters } = requestOf(build({ storageClass, clusterUid: undefined }));
    expect(parameters['loam.dev/claim-uid']).toBe('uid-1');
    expect(parameters).not.toHaveProperty(['loam.dev/cluster-uid']);
  });

  it('tells a strange driver nothing that it would not know', () => {
    const { parameters } = requestOf(build({ own: { ...own, ownDriver: false } }));
    expect(Object.keys(parameters).filter((key) => key.startsWith('loam.dev/'))).toEqual([]);
  });

  it('takes the deprecated file system key, which the driver sees too', () => {
    const built = withParameters({ FsType: 'ext4' });
    expect(built).toMatchObject({ fsType: 'ext4' });
    expect(requestOf(built).parameters['FsType']).toBe('ext4');
  });

  const refusals: [what: string, built: ReturnType<typeof build>, reason: RegExp][] = [
    [
      'two file system keys',
      withParameters({ fstype: 'xfs', 'csi.storage.k8s.io/fstype': 'xfs' }),
      /more than once/,
    ],
    [
      'an unknown reserved key',
      withParameters({ 'csi.storage.k8s.io/fstyp': 'xfs' }),
      /found unknown parameter key "csi.storage.k8s.io\/fstyp" with reserved namespace/,
    ],
    [
      'an unknown access mode',
      build({ claim: aClaim({ spec: { accessModes: ['ReadWriteTwice'] } }) }),
      /ReadWriteTwice/,
    ],
    ['a claim without a size', build({ claim: aClaim({ spec: { resources: {} } }) }), /no size/],
    [
      'a size of zero',
      build({ claim: aClaim({ spec: { resources: { requests: { storage: '0' } } } }) }),
      /no size/,
    ],
  ];
  it.each(refusals)('refuses %s', (_what, built, reason) => {
    expect(built).toMatchObject({ kind: 'refused', reason: expect.stringMatching(reason) as string });
  });
});
