import { existsSync, readFileSync, renameSync, symlinkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DirectoryBackend } from '../../../src/backends/directory/backend.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { manifestPath } from '../../support/chart.ts';
import { HostileNode } from '../../support/hostile-node.ts';
import { refusal } from '../../support/refusal.ts';
import { sourcesBelow } from '../../support/source-files.ts';
import { callFor, createRequest, mountCapability, until, VolumeLab } from '../../support/volume-lab.ts';

/**
 * What was published of other local drivers and of kubelet, by number: each attack is made here, on the real services behind a real
 * socket, and what lies beside the pool is looked at afterwards.
 */
describe('a published attack fails here', () => {
  let node: HostileNode;
  beforeEach(async () => {
    node = await HostileNode.start();
  });
  afterEach(async () => {
    const harm = await node.findHarm();
    await node[Symbol.asyncDispose]();
    expect(harm).toEqual([]);
  });

  const controller = (method: string, request: object) =>
    node.call({ service: 'Controller', method }, request);
  const kubelet = (method: string, request: object) => node.call({ service: 'Node', method }, request);
  const mount = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } };
  const climbs = [
    '../outside/canary',
    '../../../outside',
    'x/../../outside/canary',
    '/etc',
    '..',
    '.',
    'a/b',
  ];
  const create = (parameters: Record<string, string>, name = 'pvc-new') =>
    controller('CreateVolume', {
      name,
      volumeCapabilities: [mount],
      capacityRange: { requiredBytes: '1048576' },
      parameters: { backend: 'directory', limit: 'advisory', ...parameters },
    });

  it('CVE-2025-62878 (path template of a class): no parameter is part of a path, and the claim’s names only if they are names', async () => {
    for (const key of ['pathPattern', 'nodePath', 'path', 'subDir', 'basePath', 'pool']) {
      const { code, details } = await create({ [key]: '../../outside' });
      expect([3, 8], details).toContain(code);
    }
    for (const [index, climb] of climbs.entries()) {
      const metadata = { 'csi.storage.k8s.io/pvc/name': climb, 'csi.storage.k8s.io/pvc/namespace': climb };
      expect((await create(metadata, `pvc-${index}`)).code).toBe(0);
    }
    expect(await node.lab.namesIn('by-claim')).toEqual([]);
    // and at the end of the volume the names are trusted no more than at its beginning
    for (const index of climbs.keys()) {
      expect((await controller('DeleteVolume', { volumeId: `pvc-${index}` })).code).toBe(0);
    }
    expect(await node.lab.namesIn('volumes')).toEqual(['pvc-mine']);
  });

  it.each([
    ['CVE-2026-3864', 'csi-driver-nfs: subDir in the volume handle'],
    ['CVE-2026-3865', 'csi-driver-smb: the same'],
  ])('%s (%s): a handle is looked up, never joined into a path', async () => {
    const handles = [
      ...climbs,
      ...climbs.map((climb) => `server#share#${climb}#uuid#`),
      ...climbs.map((climb) => `pvc-mine/${climb}`),
      'pvc-mine/..',
      'pvc-mine/data',
      'pvc-mine%2f..',
      '.tmp-1',
      'volume.json',
      'data',
    ];
    for (const volumeId of handles) {
      const path = node.lab.kubeletPath('target');
      for (const { code, details } of [
        await controller('DeleteVolume', { volumeId }),
        await controller('ControllerExpandVolume', { volumeId, capacityRange: { requiredBytes: '1' } }),
        await kubelet('NodeStageVolume', { volumeId, stagingTargetPath: path, volumeCapability: mount }),
        await kubelet('NodePublishVolume', {
          volumeId,
          stagingTargetPath: path,
          targetPath: path,
          volumeCapability: mount,
        }),
      ]) {
        const isUnknownId = /^[a-z0-9][-a-z0-9.]*$/.test(volumeId);
        expect(isUnknownId ? [0, 5, 9] : [3], `${volumeId}: ${details}`).toContain(code);
      }
    }
  });

  it('HP#644 (csi-driver-host-path): ids of snapshots and inline volumes delete nothing that is not theirs', async () => {
    expect((await controller('CreateSnapshot', { sourceVolumeId: 'pvc-mine', name: 'kept' })).code).toBe(0);
    for (const climb of [...climbs, 'pvc-mine', 'volumes/pvc-mine', '../volumes/pvc-mine']) {
      const { code } = await controller('DeleteSnapshot', { snapshotId: climb });
      expect([0, 3, 5]).toContain(code);
      const targetPath = node.lab.kubeletPath('inline');
      const volumeContext = { 'csi.storage.k8s.io/ephemeral': 'true', size: '1Mi' };
      const request = { volumeId: climb, targetPath, volumeCapability: mount };
      if (climb !== 'pvc-mine') {
        expect((await kubelet('NodePublishVolume', { ...request, volumeContext })).code).not.toBe(0);
      }
      await kubelet('NodeUnpublishVolume', { volumeId: climb, targetPath });
    }
    expect(await node.lab.namesIn('snapshots')).toHaveLength(1);
    expect(await node.lab.namesIn('volumes')).toEqual(['pvc-mine']);
  });

  it('KEP-596 (attributes of inline volumes come from the pod’s author): only a size and the like are taken', async () => {
    const targetPath = node.lab.kubeletPath('inline');
    const context = { 'csi.storage.k8s.io/ephemeral': 'true', size: '1Mi' };
    for (const key of [
      'pool',
      'path',
      'backend',
      'mode',
      'uid',
      'limit',
      'onDelete',
      'loam.dev/pool-uuid',
      'mountOptions',
    ]) {
      const volumeContext = { ...context, [key]: '../outside' };
      const { code } = await kubelet('NodePublishVolume', {
        volumeId: 'csi-inline',
        targetPath,
        volumeCapability: mount,
        volumeContext,
      });
      expect(code, key).not.toBe(0);
    }
    expect(existsSync(targetPath)).toBe(false);
  });

  it('no limits (a tenant fills the node): a class that names no limit gets one that holds, or a refusal', async () => {
    const { code, details } = await controller('CreateVolume', {
      name: 'pvc-unlimited',
      volumeCapabilities: [mount],
      capacityRange: { requiredBytes: '1048576' },
      parameters: { backend: 'directory' },
    });
    if (code === 0) expect(await node.lab.readRecord('pvc-unlimited')).toContain('"enforced"');
    else expect(details).toMatch(/limit/);
  });

  it('DYN#155 (two volumes with one id): names that are alike get ids that are not', () => {
    const names = [
      'pvc-A',
      'pvc-a',
      'pvc-á',
      'pvc-á',
      'pvc-a ',
      'pvc-a.',
      `pvc-${'a'.repeat(200)}`,
      `pvc-${'a'.repeat(201)}`,
    ];
    expect(new Set(names.map((name) => volumeIdOf(name))).size).toBe(new Set(names).size);
  });
});

describe('a published attack on kubelet fails here', () => {
  let lab: VolumeLab;
  beforeEach(async () => {
    lab = await VolumeLab.make();
    mkdirSync(join(lab.root, 'outside'));
    writeFileSync(join(lab.root, 'outside/file'), 'secret');
  });
  afterEach(() => lab.clear());

  it.each([
    ['CVE-2017-1002101', 'a link is the volume’s root when it is mounted'],
    ['CVE-2021-25741', 'it became one since the volume was made'],
  ])('%s (%s): staging, cloning and capturing refuse it', async () => {
    const process = await lab.start({ backends: [new DirectoryBackend()], realMounts: true });
    const parameters = { backend: 'directory', limit: 'advisory' };
    await process.service.createVolume(createRequest('pvc-a', { parameters }), callFor());
    const data = join(lab.poolPath(), 'volumes/pvc-a/data');
    renameSync(data, `${data}.was`);
    symlinkSync(join(lab.root, 'outside'), data);
    const stagingTargetPath = lab.kubeletPath('staging');
    const stage = { volumeId: 'pvc-a', stagingTargetPath, capability: mountCapability, volumeContext: {} };
    const source = { kind: 'volume', volumeId: 'pvc-a' } as const;
    const clone = createRequest('pvc-b', { parameters, contentSource: source });
    const snapshot = { name: 'one', sourceVolumeId: 'pvc-a', parameters: {} };
    for (const call of [
      () => process.node.stage(stage, callFor()),
      () => process.service.createVolume(clone, callFor()),
      () => process.service.createSnapshot(snapshot, callFor()),
    ]) {
      expect((await refusal(call())).reason).not.toBe('');
    }
    expect(existsSync(stagingTargetPath)).toBe(false);
    expect(await lab.namesIn('snapshots')).toEqual([]);
  });

  it.each(['delete', 'scrub'])(
    'CVE-2017-1002102 (cleaning up follows what the volume holds): %s removes links, not what they lead to',
    async (onDelete) => {
      const process = await lab.start({ backends: [new DirectoryBackend()], realMounts: true });
      const parameters = { backend: 'directory', limit: 'advisory', onDelete };
      await process.service.createVolume(createRequest('pvc-a', { parameters }), callFor());
      const data = join(lab.poolPath(), 'volumes/pvc-a/data');
      for (const [index, target] of [
        '../../../../outside',
        join(lab.root, 'outside'),
        join(lab.root, 'outside/file'),
        '.',
        'loop',
      ].entries()) {
        symlinkSync(target, join(data, index === 4 ? 'loop' : `link-${index}`));
      }
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
      await until(async () => (await lab.namesIn('trash')).length === 0);
      expect(readFileSync(join(lab.root, 'outside/file'), 'utf8')).toBe('secret');
    },
  );
});

describe('CVE-2026-44543 (a pod template from a ConfigMap): Loam makes no pods', () => {
  it('may not create one, nor exec into one, by any role of its manifest', () => {
    const documents = readFileSync(manifestPath, 'utf8')
      .split(/^---$/m)
      .map((text) => parse(text) as Manifest | null);
    const rules = documents.flatMap((found) =>
      found?.kind?.endsWith('Role') === true ? (found.rules ?? []) : [],
    );
    expect(rules.length).toBeGreaterThan(5);
    for (const { resources = [], verbs = [] } of rules) {
      expect([...resources, ...verbs]).not.toContain('*');
      const makesPods = resources.some((name) =>
        /^(pods|pods\/.*|deployments|daemonsets|jobs|cronjobs|statefulsets|replicasets)$/.test(name),
      );
      expect(makesPods && verbs.some((verb) => ['create', 'update', 'patch'].includes(verb))).toBe(false);
    }
  });

  it('has no code that would', () => {
    const sources = sourcesBelow('src').filter(({ path }) => !/^src\/(embedded|cli\/demo)\//.test(path));
    expect(sources.length).toBeGreaterThan(100);
    const makesPods = /create\(\s*'(Pod|Deployment|DaemonSet|Job)'/;
    for (const { path, text } of sources) expect(makesPods.test(text), path).toBe(false);
  });
});

interface Manifest {
  readonly kind?: string;
  readonly rules?: readonly { readonly resources?: readonly string[]; readonly verbs?: readonly string[] }[];
}
