import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../src/config/read-config.ts';
import { parseClassParameters } from '../../src/model/class-parameters.ts';
import { lintChart, manifestPath, renderChart } from '../support/chart.ts';
import { whyNoGo } from '../support/go-tools.ts';
import { ofKind, parseManifests } from '../support/manifests.ts';

const scopedAlone = ['--set', 'scoped=true,controller.enabled=false'];
const noGo = await whyNoGo();
const committed = readFileSync(manifestPath, 'utf8');

describe.skipIf(noGo !== undefined)(`the chart${noGo === undefined ? '' : ` (skipped: ${noGo})`}`, () => {
  it('passes helm lint, where warnings count as errors', async () => {
    expect(await lintChart()).toContain('0 chart(s) failed');
  });

  it('renders to the committed deploy/kubernetes/loam.yaml; scripts/render writes it', async () => {
    expect(await renderChart()).toBe(committed);
  });

  it.each([
    ['an unknown key', ['--set', 'kubletDir=/x'], /kubletDir/],
    ['an unknown key of a pool', ['--set', 'pools[0].overcomit=2'], /overcomit/],
    ['no pool', ['--set-json', 'pools=[]'], /pools/],
    ['a pool without a path', ['--set-json', 'pools=[{"name":"a"}]'], /path/],
    ['a pool at /', ['--set', 'pools[0].name=a,pools[0].path=/'], /pools\/0\/path/],
    ['a pool path with ..', ['--set', 'pools[0].name=a,pools[0].path=/a/../etc'], /pools\/0\/path/],
    [
      'a pool path that would become options',
      ['--set', 'pools[0].name=a,pools[0].path=/a\\,init=false'],
      /pools\/0\/path/,
    ],
    // no mount of a container may have one
    ['a pool path with a colon', ['--set', 'pools[0].name=a,pools[0].path=/a:b'], /pools\/0\/path/],
    ['a relative kubelet folder', ['--set', 'kubeletDir=var/lib/kubelet'], /kubeletDir/],
    ['a log level that is none', ['--set', 'settings.logLevel=loud'], /logLevel/],
    ['text for a switch', ['--set-string', 'settings.early=yes'], /early/],
    ['a switch that the controller replaced', ['--set', 'settings.immediate=true'], /immediate/],
    ['no replica of the controller', ['--set', 'controller.replicas=0'], /replicas/],
    ['a time without a unit', ['--set-string', 'controller.unreachableAfter=300'], /unreachableAfter/],
    ['an inline size that is none', ['--set', 'inline.maxSize=much'], /maxSize/],
    ['nodes that see their label only and nobody to keep it', scopedAlone, /controller/],
    ['an unknown class', ['--set', 'storageClasses.fast.create=true'], /fast/],
  ])('refuses %s', async (_, flags, message) => {
    await expect(renderChart(...flags)).rejects.toThrow(message);
  });

  it('follows kubelet to another folder in every path', async () => {
    const kubeletDir = '/var/snap/microk8s/common/var/lib/kubelet';
    const text = await renderChart('--set', `kubeletDir=${kubeletDir}`);
    expect(text).not.toMatch(/(?<!common)\/var\/lib\/kubelet/);
    const config = configOf(text);
    expect(config.csiSocketPath).toBe(`${kubeletDir}/plugins/loam.dev/csi.sock`);
    expect(config.registrationSocketPath).toBe(`${kubeletDir}/plugins_registry/loam.dev-reg.sock`);
  });

  it('hands every pool with its options to the program, and mounts its folder', async () => {
    const pools = [
      { name: 'fast', path: '/mnt/fast', overcommit: 2.5, reserved: '10%' },
      { name: 'big', path: '/mnt/big/loam', init: false, mounted: true, tenants: 'trusted' },
    ];
    const text = await renderChart('--set-json', `pools=${JSON.stringify(pools)}`);
    expect(configOf(text).pools).toEqual([
      { name: 'fast', path: '/mnt/fast', overcommitRatio: 2.5, reservedShare: 0.1, initialise: true },
      {
        name: 'big',
        path: '/mnt/big/loam',
        overcommitRatio: 1,
        reservedShare: 0.05,
        initialise: false,
        mustBeMounted: true,
        tenants: 'trusted',
      },
    ]);
    for (const { path } of pools) expect(foldersOf(text)).toContainEqual([path, 'HostToContainer']);
  });

  it('hands large numbers over as numbers', async () => {
    const text = await renderChart('--set', 'settings.removeRate=5000000,settings.maxVolumes=20000000');
    expect(configOf(text)).toMatchObject({ removeFilesPerSecond: 5_000_000, maxVolumesPerNode: 20_000_000 });
  });

  it('takes names of Secrets as texts, whatever they look like', async () => {
    const text = await renderChart('--set-string', 'image.pullSecrets[0]=123');
    expect(podOf(text)).toMatchObject({ imagePullSecrets: [{ name: '123' }] });
  });

  it('lets the nodes take Immediate claims where there is no controller, and the controller else', async () => {
    expect(configOf(committed).immediateOnThisNode).toBe(false);
    const text = await renderChart('--set', 'controller.enabled=false');
    expect(configOf(text).immediateOnThisNode).toBe(true);
    expect(text).not.toContain('loam-controller');
  });

  it('scopes nodes and controller alike, and only then lets the controller write PVs', async () => {
    const rulesOf = (text: string) =>
      ofKind(parseManifests(text), 'ClusterRole').find(({ metadata }) => metadata.name === 'loam-controller')
        ?.rules ?? [];
    const isAboutVolumes = ({ resources }: { readonly resources: readonly string[] }) =>
      resources.includes('persistentvolumes');
    const text = await renderChart('--set', 'scoped=true');
    for (const [each, scoped, writes] of [
      [committed, false, []],
      [text, true, ['patch']],
    ] as const) {
      expect([configOf(each).scoped, controllerConfigOf(each).scoped]).toEqual([scoped, scoped]);
      const [rule, ...others] = rulesOf(each).filter(isAboutVolumes);
      expect(rule?.verbs).toEqual(['get', 'list', 'watch', ...writes]);
      expect(others).toEqual([]);
    }
    const others = (each: string) => rulesOf(each).filter((rule) => !isAboutVolumes(rule));
    expect(others(text)).toEqual(others(committed));
  });

  it('has a disruption budget only where there is more than one replica', async () => {
    expect(ofKind(parseManifests(committed), 'PodDisruptionBudget')).toHaveLength(1);
    const text = await renderChart('--set', 'controller.replicas=1');
    expect(ofKind(parseManifests(text), 'PodDisruptionBudget')).toHaveLength(0);
  });

  it('lets the scheduler look at capacity objects only where there are any', async () => {
    const driverOf = (text: string) => ofKind(parseManifests(text), 'CSIDriver')[0]?.spec['storageCapacity'];
    expect([driverOf(committed), configOf(committed).capacity]).toEqual([true, true]);
    const text = await renderChart('--set', 'settings.capacity=false');
    expect([driverOf(text), configOf(text).capacity]).toEqual([false, false]);
    const names = ofKind(parseManifests(text), 'Role').map(({ metadata }) => metadata.name);
    expect(names).toEqual(['loam-controller', 'loam-node']);
  });

  it.each([
    ['0', 0n, ['Persistent']],
    ['0.0Gi', 0n, ['Persistent']],
    ['1Gi', 1n << 30n, ['Persistent', 'Ephemeral']],
  ])('allows inline volumes up to %s', async (size, bytes, modes) => {
    const text = await renderChart('--set-string', `inline.maxSize=${size}`);
    expect(configOf(text).inlineMaxBytes).toBe(bytes);
    expect(ofKind(parseManifests(text), 'CSIDriver')[0]?.spec['volumeLifecycleModes']).toEqual(modes);
  });

  it('has a VolumeSnapshotClass only where it is told that the kind is there, and classes whose volumes grow', async () => {
    expect(committed).not.toContain('kind: VolumeSnapshotClass');
    const text = await renderChart(
      '--set',
      'snapshotClass.create=true',
      '--set',
      'snapshotClass.default=true',
    );
    const made = parseManifests(text).filter(({ kind }) => kind === 'VolumeSnapshotClass');
    expect(made).toMatchObject([
      {
        apiVersion: 'snapshot.storage.k8s.io/v1',
        metadata: {
          name: 'loam',
          annotations: { 'snapshot.storage.kubernetes.io/is-default-class': 'true' },
        },
        driver: 'loam.dev',
        deletionPolicy: 'Delete',
      },
    ]);
    const classes = ofKind(parseManifests(committed), 'StorageClass');
    expect(classes.map((each) => each.allowVolumeExpansion)).toEqual([true, true, true]);
  });

  it('gives the nodes no right for what is switched off', async () => {
    const off = ['snapshots', 'expansion', 'modification'].map((each) => `settings.${each}=false`);
    const manifests = parseManifests(await renderChart('--set', off.join(',')));
    const rules = ofKind(manifests, 'ClusterRole')
      .filter(({ metadata }) => metadata.name === 'loam-node')
      .flatMap((role) => role.rules);
    const verbsOf = (resource: string) =>
      rules.filter(({ resources }) => resources.includes(resource)).map(({ verbs }) => verbs);
    expect(verbsOf('persistentvolumeclaims/status')).toEqual([]);
    expect(verbsOf('volumesnapshotcontents/status')).toEqual([]);
    expect(verbsOf('volumesnapshotclasses')).toEqual([]);
    // restores, and volumes of a VolumeAttributesClass, are made all the same
    expect(verbsOf('volumesnapshots')).toEqual([['get', 'list', 'patch']]);
    expect(verbsOf('volumesnapshotcontents')).toEqual([['get']]);
    expect(verbsOf('volumeattributesclasses')).toEqual([['get']]);
    const [node] = ofKind(manifests, 'DaemonSet');
    expect(JSON.stringify(node)).toContain('--snapshots=false","--expansion=false","--modification=false"');
  });

  it('leaves the policies out only when it is told to, and says what that means', async () => {
    expect(ofKind(parseManifests(committed), 'ValidatingAdmissionPolicy')).toHaveLength(7);
    const text = await renderChart('--set', 'confinement.enabled=false');
    expect(text).not.toContain('ValidatingAdmissionPolicy');
  });

  it('marks the default class only when it is told to, and leaves out classes', async () => {
    expect(committed).not.toContain('is-default-class');
    const text = await renderChart(
      '--set',
      'storageClasses.loam.default=true,storageClasses.directory.create=false,storageClasses.scrub.create=false',
    );
    const classes = ofKind(parseManifests(text), 'StorageClass');
    expect(classes.map(({ metadata }) => metadata)).toMatchObject([
      { name: 'loam', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    ]);
  });
});

describe('the manifests', () => {
  const manifests = parseManifests(committed);

  it('name each object once, and are all that the kustomization applies besides the namespace', () => {
    const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
    const folder = dirname(manifestPath);
    const kustomization = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8')) as object;
    expect(kustomization).toMatchObject({ resources: ['namespace.yaml', 'loam.yaml'] });
    const [namespace] = parseManifests(readFileSync(join(folder, 'namespace.yaml'), 'utf8'));
    const namespaces = manifests.flatMap(({ metadata }) => metadata.namespace ?? []);
    expect(new Set(namespaces)).toEqual(new Set([namespace?.metadata.name]));
  });

  it('start the program with flags that it knows, below folders that are the node’s under the same path', () => {
    const config = configOf(committed);
    expect(config.pools).toMatchObject([{ name: 'default', path: '/var/lib/loam/pool' }]);
    expect(config.kubeletCsiSocketPath).toBe(config.csiSocketPath);
    const folders = foldersOf(committed).map(([path]) => path);
    const { csiSocketPath, registrationSocketPath = '', stateDir, runDir } = config;
    for (const path of [csiSocketPath, registrationSocketPath, stateDir, runDir, '/dev']) {
      expect(folders.some((folder) => path === folder || path.startsWith(`${folder}/`))).toBe(true);
    }
    expect(foldersOf(committed)).toContainEqual(['/var/lib/kubelet', 'Bidirectional']);
    // the pool is below it: a disk there that is unmounted on the node would stay in use by this pod
    expect(foldersOf(committed)).toContainEqual([stateDir, 'HostToContainer']);
    // without it /proc shows no other mount namespace, and a volume that is still mounted in one would be deleted
    expect(podOf(committed).hostPID).toBe(true);
    expect(podOf(committed).containers).toHaveLength(1);
  });

  it('start a controller that knows its flags and where it is, and may do nothing else', () => {
    const [deployment] = ofKind(manifests, 'Deployment');
    const pod = deployment?.spec.template.spec;
    const [container] = pod?.containers ?? [];
    const [command, ...flags] = container?.args ?? [];
    expect(command).toBe('controller');
    const env = { POD_NAME: 'loam-controller-x', POD_NAMESPACE: 'loam-system' };
    expect(container?.env?.map(({ name }) => name)).toEqual(Object.keys(env));
    const config = readConfig(flags, { env, hostName: 'any', readFile: () => '' });
    expect(config).toMatchObject({
      namespace: 'loam-system',
      leaderElect: true,
      unreachableAfterMs: 300_000,
    });
    expect(config.observeAddress).toBe(':9810');
    expect(deployment?.spec.replicas).toBe(2);
    expect(pod).toMatchObject({
      priorityClassName: 'system-cluster-critical',
      securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
    });
    expect(container?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(pod?.volumes).toBeUndefined();
  });

  it('say to each process in which pod and namespace it is', () => {
    const names = podOf(committed).containers[0]?.env?.map(({ name }) => name);
    expect(names).toEqual(['NODE_NAME', 'LOAM_RUN_DIR', 'POD_NAME', 'POD_NAMESPACE']);
  });

  it('hold classes whose parameters the driver takes', () => {
    const classes = ofKind(manifests, 'StorageClass');
    expect(classes.map(({ metadata }) => metadata.name)).toEqual(['loam', 'loam-directory', 'loam-scrub']);
    for (const { provisioner, parameters = {}, volumeBindingMode } of classes) {
      expect([provisioner, volumeBindingMode]).toEqual(['loam.dev', 'WaitForFirstConsumer']);
      expect(() => parseClassParameters(parameters)).not.toThrow();
    }
    expect(classes[0]).not.toHaveProperty('parameters');
  });

  it('declare a driver that needs no attachment', () => {
    expect(ofKind(manifests, 'CSIDriver')).toMatchObject([
      {
        metadata: { name: 'loam.dev' },
        spec: {
          attachRequired: false,
          podInfoOnMount: true,
          fsGroupPolicy: 'File',
          seLinuxMount: false,
          volumeLifecycleModes: ['Persistent'],
        },
      },
    ]);
  });
});

function podOf(text: string) {
  const pod = ofKind(parseManifests(text), 'DaemonSet')[0]?.spec.template.spec;
  if (pod === undefined) throw new Error('there is no DaemonSet');
  return pod;
}

function configOf(text: string) {
  const [command, ...flags] = podOf(text).containers[0]?.args ?? [];
  expect(command).toBe('node');
  return readConfig(flags, { env: {}, hostName: 'node-a', readFile: () => '' });
}

function controllerConfigOf(text: string) {
  const [deployment] = ofKind(parseManifests(text), 'Deployment');
  const [, ...flags] = deployment?.spec.template.spec.containers[0]?.args ?? [];
  return readConfig(flags, { env: {}, hostName: 'any', readFile: () => '' });
}

/** The node's folders that the container has under their own paths, with the propagation of mounts. */
function foldersOf(text: string): (readonly [path: string, propagation: string | undefined])[] {
  const { containers, volumes } = podOf(text);
  return (containers[0]?.volumeMounts ?? []).flatMap(({ name, mountPath, mountPropagation }) => {
    const path = volumes?.find((volume) => volume.name === name)?.hostPath?.path;
    return path === mountPath ? [[path, mountPropagation] as const] : [];
  });
}
