import { join } from 'node:path';
import { connectCsiDriver } from '../../csi/client.ts';
import { connectNodeDriver } from '../../csi/node-client.ts';
import { startCsiServer } from '../../csi/server.ts';
import { KubeletStandIn } from '../../embedded/kubelet-stand-in.ts';
import { startEmbeddedControlPlane } from '../../embedded/start.ts';
import { createKubeApi, plainKubeAccess } from '../../kube/client.ts';
import { EventRecorder } from '../../kube/event-recorder.ts';
import { Provisioner } from '../../provisioner/provisioner.ts';
import { Closers } from '../../roles/closers.ts';
import { version } from '../../roles/version.ts';
import { startVolumeStack, type ProcessContext } from '../../roles/volume-stack.ts';
import { labelValueOf } from '../../model/topology-value.ts';
import { demoFiles, kubeletDirectories } from './demo-files.ts';
import { namespace, type World } from './world.ts';

const driverName = 'loam.dev';
const nodeName = 'demo-node';
const poolName = 'demo';

export interface DemoCluster {
  readonly world: World;
  readonly kubeconfigText: string;
  /** Lets the pods go and with them the mounts, then stops every part. */
  close(): Promise<void>;
}

/**
 * Loam as it runs on a node, with the embedded control plane for a cluster: provisioner and kubelet reach the driver over
 * its CSI socket, the provisioner reaches the API over http.
 */
export async function startDemoCluster(
  folderPath: string,
  port: number,
  context: ProcessContext,
): Promise<DemoCluster> {
  const { clock, log, metrics, signal } = context;
  const closers = new Closers(log);
  try {
    const poolPath = join(folderPath, 'pool');
    const kubeletPath = join(folderPath, 'kubelet');
    const socketPath = join(folderPath, 'csi.sock');
    const plane = await startEmbeddedControlPlane({
      port,
      nodes: [nodeName],
      binder: true,
      scheduler: true,
      clock,
      log,
    });
    closers.add('control plane', () => plane.close());
    const config = {
      driverName,
      nodeName,
      pools: [{ name: poolName, path: poolPath, overcommitRatio: 1, reservedShare: 0.05, initialise: true }],
      runDir: join(folderPath, 'run'),
      stateDir: join(folderPath, 'state'),
      scrubBytesPerSecond: 1n << 30n,
      removeFilesPerSecond: 100_000,
      maxVolumesPerNode: 0,
    };
    const stack = await startVolumeStack(config, version, context);
    closers.add('volumes', () => stack.stop());
    const [missing] = stack.pools.unavailable();
    if (missing !== undefined) throw new Error(`no pool in ${poolPath}: ${missing.why}`);
    const { controller, node } = stack;
    const identity = { name: driverName, vendorVersion: version };
    const server = await startCsiServer({ ...context, socketPath, controller, node, identity });
    closers.add('CSI server', () => server.close());
    const api = createKubeApi(plainKubeAccess(plane.url), { metrics, userAgent: `loam/${version}` });
    closers.add('API client', () => api.close());
    const driver = connectCsiDriver(socketPath);
    closers.add('CSI client', async () => driver.close());
    const provisioner = new Provisioner({
      ...context,
      api,
      driver,
      ledger: controller,
      settings: {
        driverName,
        nodeName,
        topologyValue: labelValueOf(nodeName),
        early: true,
        writePhase: true,
        immediateOnThisNode: true,
        workers: 32,
        timeoutMs: 10_000,
      },
    });
    closers.add('provisioner', () => provisioner.stop());
    await provisioner.start(signal);
    const nodeDriver = connectNodeDriver(socketPath);
    closers.add('kubelet', async () => nodeDriver.close());
    const kubelet = new KubeletStandIn({
      api: plane.api,
      nodeName,
      driverName,
      rootPath: kubeletPath,
      driver: nodeDriver,
      directories: kubeletDirectories,
      finishPod: (key, uid) => plane.finishPod(key, uid),
      singleNodeMultiWriter: true,
      notices: new EventRecorder({ api: plane.api, component: 'kubelet', host: nodeName, clock, log }),
      clock,
      log,
    });
    await kubelet.start(signal);
    const world: World = {
      api: plane.api,
      signal,
      nodeName,
      driverName,
      poolName,
      poolPath,
      kubeletPath,
      files: demoFiles,
      targetPathOf: (pod, volumeName) => kubelet.targetPathOf(`${namespace}/${pod}`, volumeName),
    };
    closers.add('pods', () => removePods(world));
    return { world, kubeconfigText: plane.kubeconfigText, close: () => closers.close() };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

const partingMs = 10_000;

/** So that no loop device outlives the demo. Whatever cannot be unmounted in time is left to the folder's removal. */
async function removePods({ api }: World): Promise<void> {
  const signal = AbortSignal.timeout(partingMs);
  for (const { metadata } of (await api.list('Pod', {}, signal)).items)
    await api.remove('Pod', metadata, signal);
  while ((await api.list('Pod', {}, signal)).items.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 10));
}
