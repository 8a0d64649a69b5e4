import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectCsiDriver } from '../../../src/csi/client.ts';
import { connectNodeDriver } from '../../../src/csi/node-client.ts';
import { ClusterUser } from '../../support/cluster-user.ts';
import { EmbeddedPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { PluginWatcher } from '../../support/plugin-watcher.ts';
import { callFor, createRequest } from '../../support/volume-lab.ts';

describe('a node’s process', () => {
  let folder: string;
  const running: AsyncDisposable[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'loam-node-'));
  });
  afterEach(async () => {
    for (const each of running.splice(0).toReversed()) await each[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const poolPath = (): string => join(folder, 'pool');
  async function start(
    own: string,
    options: Partial<Parameters<typeof LoamProcess.start>[0]> = {},
  ): Promise<LoamProcess> {
    const pools = [`p=${poolPath()}`];
    const loam = await LoamProcess.start({ folder: join(folder, own), pools, ...options });
    running.push(loam);
    return loam;
  }
  async function withDriver<T>(
    loam: LoamProcess,
    ask: (driver: ReturnType<typeof connectCsiDriver>) => Promise<T>,
  ): Promise<T> {
    const driver = connectCsiDriver(loam.csiSocketPath);
    try {
      return await ask(driver);
    } finally {
      driver.close();
    }
  }
  const directory = { backend: 'directory', limit: 'advisory' };
  const wish = (name: string) => ({
    ...createRequest(name, { parameters: directory }),
    capacityRange: { requiredBytes: 1n << 20n, limitBytes: 0n },
  });

  it('ends within 6 s of SIGTERM with code 0 and takes its sockets with it, though clients stay connected', async () => {
    const registry = join(folder, 'registry');
    mkdirSync(registry);
    const kubelet = new PluginWatcher(registry);
    const loam = await start('a', { flags: [`--registration-socket=${join(registry, 'loam-reg.sock')}`] });
    const driver = connectCsiDriver(loam.csiSocketPath);
    const node = connectNodeDriver(loam.csiSocketPath);
    await driver.createVolume(wish('pvc-a'), callFor());
    await node.nodeInfo(callFor());
    const before = Date.now();
    await loam.terminate();
    expect(Date.now() - before).toBeLessThan(6000);
    expect(loam.exitCode).toBe(0);
    expect(readdirSync(registry)).toEqual([]);
    expect(existsSync(loam.csiSocketPath)).toBe(false);
    expect(readdirSync(join(folder, 'a')).filter((name) => name.includes('.sock'))).toEqual([]);
    driver.close();
    node.close();
    await kubelet.stop();
  });

  it('ends as quickly while the API server hangs and a scrub has hours to go, which the next process takes up', async () => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const kubeconfigPath = join(folder, 'kubeconfig');
    const { port } = silent.address() as AddressInfo;
    const cluster = { server: `http://127.0.0.1:${port}` };
    const kubeconfig = {
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: {} }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    };
    writeFileSync(kubeconfigPath, JSON.stringify(kubeconfig));
    const loam = await start('a', { kubeconfigPath, until: 'served', flags: ['--scrub-rate=1Ki'] });
    const scrubbed = { ...wish('pvc-a'), parameters: { ...directory, onDelete: 'scrub' } };
    const driver = connectCsiDriver(loam.csiSocketPath);
    await eventually('the socket', async () => (await loam.status()).text.includes('[+] csi'));
    await driver.createVolume(scrubbed, callFor());
    writeFileSync(join(poolPath(), 'volumes/pvc-a/data/file'), Buffer.alloc(8 << 20, 'x'));
    const deletion = driver
      .deleteVolume({ volumeId: 'pvc-a' }, callFor(60_000))
      .catch((error: unknown) => error);
    await eventually('the trash', () => readdirSync(join(poolPath(), 'trash')).length === 1);
    const before = Date.now();
    await loam.terminate();
    expect(Date.now() - before).toBeLessThan(4000);
    expect(loam.exitCode).toBe(0);
    expect(await deletion).toBeInstanceOf(Error);
    expect(readdirSync(join(poolPath(), 'trash'))).toHaveLength(1);
    const next = await start('a');
    await eventually('the scrub to end', () => readdirSync(join(poolPath(), 'trash')).length === 0);
    expect((await next.status()).ok).toBe(true);
    driver.close();
    silent.closeAllConnections();
    silent.close();
  });

  it('leaves a pool to the process that has it, says so, and takes over when that ends', async () => {
    const first = await start('a');
    await withDriver(first, (driver) => driver.createVolume(wish('pvc-a'), callFor()));
    const second = await start('b', { until: 'served' });
    const { ok, text } = await eventually('pools to be looked at', async () => {
      const now = await second.status();
      return now.text.includes('[-] pools: p:') ? now : undefined;
    });
    expect(ok).toBe(false);
    expect(text).toMatch(/in use by another process/);
    expect((await second.status('healthz')).ok).toBe(true);
    await expect(
      withDriver(second, (driver) => driver.createVolume(wish('pvc-b'), callFor())),
    ).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect((await first.status()).ok).toBe(true);
    await first.terminate();
    await eventually('the second to take over', async () => (await second.status()).ok, 10_000);
    // a delete of an id that it did not know would be no error either
    await withDriver(second, (driver) => driver.deleteVolume({ volumeId: 'pvc-a' }, callFor()));
    expect(readdirSync(join(poolPath(), 'volumes'))).toEqual([]);
    // and after kill -9 nothing is stale
    await second.kill();
    const third = await start('c');
    expect((await third.status()).ok).toBe(true);
  });

  it('is registered by kubelet, again after its own restart and after kubelet’s', async () => {
    const registry = join(folder, 'registry');
    mkdirSync(registry);
    const flags = [`--registration-socket=${join(registry, 'loam-reg.sock')}`];
    const first = await start('a', { flags, until: 'served' });
    await eventually('the registration to be all that is missing', async () => {
      const { text } = await first.status();
      return text.includes('[-] kubelet') && text.includes('[+] pools');
    });
    await using before = new PluginWatcher(registry);
    await eventually('readiness', async () => (await first.status()).ok);
    expect(before.seen).toEqual([{ name: 'loam.dev', endpoint: first.csiSocketPath, nodeId: 'node-a' }]);
    // kubelet restarts
    await before.stop();
    await using kubelet = new PluginWatcher(registry);
    await eventually('a registration with the new kubelet', () => kubelet.seen.length === 1);
    // the driver restarts, without a chance to clean up
    await first.kill();
    const second = await start('a', { flags });
    expect(kubelet.seen).toHaveLength(2);
    expect(await second.metrics()).toContain('loam_kubelet_registered{driver_name="loam.dev"} 1');
    // kubelet's folder is emptied while both run
    rmSync(join(registry, 'loam-reg.sock'));
    await eventually('a registration by a new socket', () => kubelet.seen.length === 3, 20_000);
  });

  it('is not ready while its pool is away, and ready when it is back', async () => {
    const loam = await start('a');
    const capacity = () =>
      withDriver(loam, (driver) =>
        driver.getCapacity({ capabilities: [], parameters: directory }, callFor()),
      );
    expect((await capacity()).maximumVolumeBytes).toBeGreaterThan(0n);
    renameSync(poolPath(), `${poolPath()}.away`);
    mkdirSync(poolPath());
    expect((await capacity()).maximumVolumeBytes).toBe(0n);
    const { ok, text } = await loam.status();
    expect(ok).toBe(false);
    expect(text).toMatch(/\[-\] pools: p: .*not mounted/);
    expect((await loam.status('healthz')).ok).toBe(true);
    expect(await loam.metrics()).toContain('loam_pool_available{pool="p"} 0');
    rmdirSync(poolPath());
    renameSync(`${poolPath()}.away`, poolPath());
    await eventually('readiness', async () => (await loam.status()).ok, 20_000);
  });

  it('tells of a claim in its metrics and its log, by the names that dashboards know', async () => {
    await using plane = await EmbeddedPlane.start();
    const user = new ClusterUser(plane.api, 'loam.dev');
    const loam = await start('a', { kubeconfigPath: plane.kubeconfigPath });
    const className = await user.createClass();
    const claim = await user.createClaim({ className, node: 'node-a' });
    await user.untilBound(claim);
    const refused = await user.createClass({ parameters: { backend: 'directory' } });
    await user.createClaim({ className: refused, node: 'node-a' });
    const failed = `controller_persistentvolumeclaim_provision_failed_total{class="${refused}",source=""}`;
    await eventually('a failure', async () => (await loam.metrics()).includes(failed));
    await user.deleteClaimAndVolume(claim);
    const deleted = `controller_persistentvolume_delete_total{class="${className}"} 1`;
    await eventually('the delete to be counted', async () => (await loam.metrics()).includes(deleted));
    const text = await loam.metrics();
    const rpc = (method: string): string =>
      `csi_sidecar_operations_seconds_count{driver_name="loam.dev",grpc_status_code="OK",method_name="/csi.v1.Controller/${method}"}`;
    for (const line of [
      `controller_persistentvolumeclaim_provision_total{class="${className}",source=""} 1`,
      `controller_persistentvolumeclaim_provision_duration_seconds_count{class="${className}",source=""} 1`,
      `controller_persistentvolume_delete_duration_seconds_count{class="${className}"} 1`,
      rpc('CreateVolume'),
      rpc('DeleteVolume'),
      'workqueue_adds_total{name="claims"}',
      'workqueue_depth{name="claims"}',
      'workqueue_queue_duration_seconds_count{name="volumes"}',
      'workqueue_work_duration_seconds_count{name="volumes"}',
      'workqueue_unfinished_work_seconds{name="claims"}',
      'workqueue_longest_running_processor_seconds{name="volumes"}',
      'rest_client_requests_total{',
      'rest_client_request_duration_seconds_count{',
      'process_resident_memory_bytes',
    ])
      expect(text.split('\n').filter((own) => own.startsWith(line)).length, line).toBeGreaterThan(0);
    const lines = loam
      .logTail(10_000)
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const { name, uid } = claim.metadata;
    for (const message of ['provisioned a volume']) {
      const found = lines.find(({ msg }) => msg === message);
      expect(found, message).toMatchObject({ level: 'info', node: 'node-a' });
      expect(JSON.stringify(found)).toContain(uid);
      expect(JSON.stringify(found)).toContain(name);
    }
    expect((await loam.status()).text).toContain('[+] watches: ok');
    // a claim gets ready and is served again when the API server is back, and the process lives meanwhile
    await plane.takeAway();
    expect((await loam.status('healthz')).ok).toBe(true);
    await plane.bringBack();
  });
});
