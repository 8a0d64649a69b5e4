import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startEmbeddedControlPlane, type EmbeddedControlPlane } from '../../../src/embedded/start.ts';
import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { buildGoTool } from '../../support/go-tools.ts';
import { Program } from './program.ts';

const manifests = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: loam.dev
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: local
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: static, labels: {kind: by-hand}}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 2Gi}
  storageClassName: other
  csi: {driver: loam.dev, volumeHandle: handle}
---
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  containers: [{name: main, image: busybox, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`;

let plane: EmbeddedControlPlane;
let folder: string;
let kubectlPath: string;

beforeAll(async () => {
  kubectlPath = await buildGoTool('kubectl');
  plane = await startEmbeddedControlPlane({
    nodes: ['node-a'],
    binder: true,
    scheduler: true,
    clock: systemClock,
    log: silentLog,
  });
  folder = await mkdtemp(join(tmpdir(), 'loam-kubectl-'));
  await writeFile(join(folder, 'config'), plane.kubeconfigText);
}, 900_000);
afterAll(async () => {
  await plane?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

function start(args: readonly string[], input?: string): Program {
  const env = { KUBECONFIG: join(folder, 'config'), HOME: folder };
  return new Program(kubectlPath, args, input === undefined ? { env } : { env, input });
}
/** Runs to its end and answers what it printed; fails with what it said on standard error. */
async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await start(args, input).ended;
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}: ${stderr}`);
  return stdout;
}
const until = (check: () => Promise<void> | void) => vi.waitFor(check, { timeout: 15_000, interval: 100 });
const columns = (line: string | undefined) => (line ?? '').trim().split(/\s{2,}/);

describe('kubectl on the embedded control plane', () => {
  it('applies manifests, with validation on, and finds nothing to do the second time', async () => {
    expect(await kubectl(['apply', '-f', '-'], manifests)).toBe(
      'storageclass.storage.k8s.io/local created\npersistentvolumeclaim/data created\npersistentvolume/static created\npod/user created\n',
    );
    expect(await kubectl(['apply', '-f', '-'], manifests)).toMatch(/^(?:\S+ unchanged\n){4}$/);
  });

  it('gets the columns that it gets from a real server', async () => {
    const [header, row] = (await kubectl(['get', 'pvc'])).split('\n');
    expect(columns(header)).toEqual([
      'NAME',
      'STATUS',
      'VOLUME',
      'CAPACITY',
      'ACCESS MODES',
      'STORAGECLASS',
      'VOLUMEATTRIBUTESCLASS',
      'AGE',
    ]);
    expect(columns(row)).toEqual(['data', 'Pending', 'local', '<unset>', expect.stringMatching(/^\d+s$/)]);
    await until(async () => {
      const volumes = (await kubectl(['get', 'pv', '-l', 'kind=by-hand'])).split('\n');
      expect(columns(volumes[1]).slice(0, 5)).toEqual(['static', '2Gi', 'RWO', 'Retain', 'Available']);
    });
    expect(await kubectl(['get', 'sc,nodes,pods,events,ns'])).toContain('WaitForFirstConsumer');
    expect(await kubectl(['get', 'pvc', 'data', '-o', 'jsonpath={.spec.storageClassName}'])).toBe('local');
  });

  it('watches', async () => {
    const watch = start(['get', 'pv', '-w']);
    await until(() => expect(watch.stdout).toContain('static'));
    await kubectl(['patch', 'pv', 'static', '-p', '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}']);
    await until(() => expect(watch.stdout.trim().split('\n').at(-1)).toMatch(/^static .* Delete/));
    watch.signal('SIGTERM');
    await watch.ended;
  });

  it('patches, annotates and labels', async () => {
    await kubectl(['annotate', 'pvc', 'data', 'loam.dev/note=hello']);
    await kubectl(['label', 'pvc', 'data', 'team=blue']);
    await kubectl([
      'patch',
      'pvc',
      'data',
      '--type=json',
      '-p',
      '[{"op":"remove","path":"/metadata/labels/team"}]',
    ]);
    await kubectl(['patch', 'pvc', 'data', '--type=merge', '-p', '{"metadata":{"labels":{"team":"red"}}}']);
    expect(
      await kubectl([
        'get',
        'pvc',
        'data',
        '-o',
        'jsonpath={.metadata.annotations.loam\\.dev/note} {.metadata.labels.team}',
      ]),
    ).toBe('hello red');
  });

  it('describes a claim with its events and the pods that use it', async () => {
    await until(async () => {
      const text = await kubectl(['describe', 'pvc', 'data']);
      expect(text).toMatch(/Used By: +user/);
      expect(text).toMatch(/ExternalProvisioning .* persistentvolume-controller/);
    });
    expect(await kubectl(['describe', 'pv', 'static'])).toMatch(/VolumeHandle: +handle/);
  });

  it("is told in the server's words what is wrong", async () => {
    const bad = manifests.replace('storage: 2Gi', 'storage: "0"').replace('name: static', 'name: bad');
    const { code, stderr } = await start(['apply', '-f', '-'], bad).ended;
    expect(code).toBe(1);
    expect(stderr).toContain('The PersistentVolume "bad" is invalid: spec.capacity[storage]');
    const missing = await start(['get', 'pvc', 'nope']).ended;
    expect(missing.stderr).toBe('Error from server (NotFound): persistentvolumeclaims "nope" not found\n');
  });

  it("applies on the server's side, waits, and deletes", async () => {
    expect(await kubectl(['apply', '--server-side', '-f', '-'], manifests)).toContain(
      'persistentvolumeclaim/data serverside-applied',
    );
    await kubectl(['wait', '--for=jsonpath={.status.phase}=Available', 'pv/static', '--timeout=10s']);
    expect(await kubectl(['delete', '-f', '-', '--timeout=20s'], manifests)).toContain(
      'persistentvolumeclaim "data" deleted',
    );
    expect((await start(['get', 'pvc,pv,pods']).ended).stderr).toContain('No resources found');
  });
});
