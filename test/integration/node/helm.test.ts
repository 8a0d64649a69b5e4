import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { chartPath, helm } from '../../support/chart.ts';
import { Kubectl } from '../../support/node-account.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const soon = () => AbortSignal.timeout(20_000);

describe('helm and a real API server', () => {
  let server: RealApiServer;
  let api: KubeApi & { close(): Promise<void> };
  let folder: string;
  let kubectl: Kubectl;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'loam-helm-'));
    server = await RealApiServer.start();
    kubectl = await Kubectl.of(server, folder);
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), {
      metrics: noMetrics,
      userAgent: 'loam-test',
    });
  });
  afterAll(async () => {
    await api?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const release = (verb: 'install' | 'upgrade', ...flags: readonly string[]): Promise<string> =>
    helm(verb, 'loam', chartPath, `--kubeconfig=${server.kubeconfigPath}`, '--create-namespace', ...flags);
  const classNames = async (): Promise<readonly string[]> => {
    const { items } = await api.list('StorageClass', {}, soon());
    return items.map(({ metadata }) => metadata.name);
  };

  const driver = (path: string): Promise<string> =>
    kubectl.run('get', 'csidriver', 'loam.dev', '-o', `jsonpath={.${path}}`);
  const installed = async (): Promise<readonly string[]> => {
    const kinds = 'daemonsets,deployments,validatingadmissionpolicies';
    const lines = await kubectl.run('get', kinds, '-n', 'loam-system', '-o', 'name');
    return lines.split('\n').filter((line) => line !== '');
  };

  it('install the chart, upgrade it to other values, and uninstall it with the PVs left alone', async () => {
    const notes = await release('install');
    expect(notes).toContain(
      'kubectl label namespace loam-system pod-security.kubernetes.io/enforce=privileged',
    );
    expect(await classNames()).toEqual(['loam', 'loam-directory', 'loam-scrub']);

    await api.create(
      'PersistentVolume',
      {
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name: 'kept' },
        spec: {
          accessModes: ['ReadWriteOnce'],
          capacity: { storage: '1Mi' },
          storageClassName: 'loam',
          csi: { driver: 'loam.dev', volumeHandle: 'kept' },
        },
      },
      soon(),
    );
    const values = { image: { tag: 'next' }, storageClasses: { loam: { default: true } } };
    const flags = Object.entries(values).map(([key, value]) => `--set-json=${key}=${JSON.stringify(value)}`);
    await release('upgrade', ...flags, '--set-json=pools=[{"name":"fast","path":"/mnt/fast"}]');
    const loam = await api.get('StorageClass', { name: 'loam' }, soon());
    expect(loam.metadata.annotations).toMatchObject({
      'storageclass.kubernetes.io/is-default-class': 'true',
    });
    const manifest = await helm('get', 'manifest', 'loam', `--kubeconfig=${server.kubeconfigPath}`);
    expect(manifest).toContain('image: loam.dev/loam:next');
    expect(manifest).toContain('--pool=fast=/mnt/fast');

    await helm('uninstall', 'loam', `--kubeconfig=${server.kubeconfigPath}`);
    expect(await classNames()).toEqual([]);
    const kept = await api.get('PersistentVolume', { name: 'kept' }, soon());
    expect(kept.metadata.deletionTimestamp).toBeUndefined();
  });

  it('upgrade from an installation without controller, capacity and policies, and back', async () => {
    const before = '--set=controller.enabled=false,settings.capacity=false,confinement.enabled=false';
    await release('install', before);
    const uid = await driver('metadata.uid');
    expect(await driver('spec.storageCapacity')).toBe('false');
    expect(await installed()).toEqual(['daemonset.apps/loam-node']);

    const all = [
      'daemonset.apps/loam-node',
      'deployment.apps/loam-controller',
      ...['capacity', 'claims', 'events', 'snapshot-contents', 'snapshots', 'tombstones', 'volumes'].map(
        (name) => `validatingadmissionpolicy.admissionregistration.k8s.io/loam-node-${name}`,
      ),
    ];
    await release('upgrade', '--reset-values');
    expect(await driver('spec.storageCapacity')).toBe('true');
    expect(await installed()).toEqual(all);

    await release('upgrade', before);
    expect(await installed()).toEqual(['daemonset.apps/loam-node']);
    // one object all the time: kubelets are not told of another driver
    expect(await driver('metadata.uid')).toBe(uid);
    await helm('uninstall', 'loam', `--kubeconfig=${server.kubeconfigPath}`);
    expect(await installed()).toEqual([]);
  });

  it('allow inline volumes later only with a new CSIDriver object', async () => {
    await release('install');
    await expect(release('upgrade', '--set-string=inline.maxSize=1Gi')).rejects.toThrow(/field is immutable/);
    await kubectl.run('delete', 'csidriver', 'loam.dev');
    await release('upgrade', '--set-string=inline.maxSize=1Gi');
    expect(await driver('spec.volumeLifecycleModes')).toBe('["Persistent","Ephemeral"]');
  });
});
