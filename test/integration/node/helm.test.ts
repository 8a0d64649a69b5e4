import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { chartPath, helm } from '../../support/chart.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const soon = () => AbortSignal.timeout(20_000);

describe('helm and a real API server', () => {
  let server: RealApiServer;
  let api: KubeApi & { close(): Promise<void> };
  beforeAll(async () => {
    server = await RealApiServer.start();
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), {
      metrics: noMetrics,
      userAgent: 'loam-test',
    });
  });
  afterAll(async () => {
    await api?.close();
    await server?.stop();
  });

  const release = (verb: 'install' | 'upgrade', ...flags: readonly string[]): Promise<string> =>
    helm(verb, 'loam', chartPath, `--kubeconfig=${server.kubeconfigPath}`, '--create-namespace', ...flags);
  const classNames = async (): Promise<readonly string[]> => {
    const { items } = await api.list('StorageClass', {}, soon());
    return items.map(({ metadata }) => metadata.name);
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
});
