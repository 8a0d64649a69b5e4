import { dirname, join } from 'node:path';
import type { Config } from '../config/config.ts';
import { connectCsiDriver } from '../csi/client.ts';
import { startCsiServer } from '../csi/server.ts';
import { createKubeApi, loadKubeAccess } from '../kube/client.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { startRegistration } from '../kubelet/registration.ts';
import { labelValueOf } from '../model/topology-value.ts';
import type { Check } from '../observe/status-server.ts';
import { Provisioner } from '../provisioner/provisioner.ts';
import { checkPools } from './check-pools.ts';
import { operatorPorts } from './operator-ports.ts';
import { serveOperatorSocket } from './serve-operator.ts';
import type { InlineSettings } from '../volumes/inline/inline-environment.ts';
import type { Closers } from './closers.ts';
import { tellAccounts } from './pool-metrics.ts';
import { runProcess } from './run-process.ts';
import type { Measure } from './start-placement.ts';
import { version } from './version.ts';
import { type ProcessContext, startVolumeStack, type VolumeStack } from './volume-stack.ts';

/** external-provisioner's: for one driver call, and for claims and volumes each. */
const driverTimeoutMs = 10_000;
const workers = 32;

/** What else runs in a node's process (`loam all`). */
export type Beside = (config: Config, context: ProcessContext, checks: Check[], closers: Closers) => Measure;

/**
 * One node's whole process: the CSI services, kubelet's registration, the provisioner and the status server. Resolves when
 * everything is closed, after the signal has aborted.
 *
 * What the kubelet needs comes first: unmounts have to be served while the API server is away.
 */
export async function runNode(config: Config, signal: AbortSignal, beside?: Beside): Promise<void> {
  const names = { node: config.nodeName };
  await runProcess(config, names, signal, async ({ context, metrics, checks, closers }) => {
    const starting: Check = { name: 'start', kind: 'ready', problem: () => 'pools are being recovered' };
    checks.push(starting);
    const stack = await startVolumeStack({ ...config, inline: inlineOf(config) }, version, context);
    closers.add('volumes', () => stack.stop());
    metrics.onCollect(() => tellAccounts(stack.pools, metrics));
    checks.push(
      checkPools({
        isAnyOpen: () => stack.controller.isReady(),
        unavailable: () => stack.pools.unavailable(),
      }),
    );
    await serveCsi(config, stack, context, checks, closers);
    let provisioner: Provisioner | undefined;
    const ports = operatorPorts({
      nodeName: config.nodeName,
      disk: stack.controller,
      inventory: stack.inventory,
      unowned: () => (config.kube === undefined ? 'none' : provisioner?.unowned),
      adoptPath: (path, options, call) =>
        stack.controller.adoptPath(path, { ...options, byHand: true }, call),
      ...context,
    });
    const operator = await serveOperatorSocket(config.runDir, ports, context);
    closers.add('operator socket', () => operator.close());
    if (config.kube !== undefined) {
      provisioner = startProvisioner(config, stack, context, checks, closers);
      const running = provisioner;
      metrics.onCollect(() => running.measure());
      if (beside !== undefined) metrics.onCollect(beside(config, context, checks, closers));
    }
    checks.splice(checks.indexOf(starting), 1);
  });
}

/** Staged beside the CSI socket: that folder is kubelet's, too, and mounts in it outlive our container. */
function inlineOf({ inlineMaxBytes, csiSocketPath }: Config): InlineSettings {
  return { maxBytes: inlineMaxBytes, stagingFolder: join(dirname(csiSocketPath), 'inline') };
}

async function serveCsi(
  config: Config,
  stack: VolumeStack,
  context: ProcessContext,
  checks: Check[],
  closers: Closers,
): Promise<void> {
  const { driverName, csiSocketPath, kubeletCsiSocketPath, registrationSocketPath } = config;
  const server = await startCsiServer({
    ...context,
    socketPath: csiSocketPath,
    controller: stack.controller,
    node: stack.node,
    identity: { name: driverName, vendorVersion: version },
  });
  closers.add('CSI server', () => server.close());
  checks.push({
    name: 'csi',
    kind: 'live',
    problem: () => (server.isServing() ? undefined : `${csiSocketPath} does not lead here`),
  });
  if (registrationSocketPath === undefined) return;
  const registration = await startRegistration({
    ...context,
    socketPath: registrationSocketPath,
    driverName,
    endpoint: kubeletCsiSocketPath,
  });
  closers.add('registration', () => registration.close());
  checks.push({
    name: 'kubelet',
    kind: 'ready',
    problem: () => (registration.isRegistered() ? undefined : 'kubelet has not registered the driver'),
  });
}

function startProvisioner(
  config: Config,
  stack: VolumeStack,
  context: ProcessContext,
  checks: Check[],
  closers: Closers,
): Provisioner {
  const { log, metrics, signal } = context;
  const api: KubeApi & { close(): Promise<void> } = createKubeApi(
    loadKubeAccess(config.kube?.kubeconfigPath),
    { metrics, userAgent: `loam/${version}` },
  );
  closers.add('API client', () => api.close());
  const socket = config.loopThrough === 'socket' ? connectCsiDriver(config.csiSocketPath) : undefined;
  if (socket !== undefined) closers.add('CSI client', () => Promise.resolve(socket.close()));
  const provisioner = new Provisioner({
    ...context,
    api,
    driver: socket ?? stack.controller,
    ledger: stack.controller,
    conditions: stack.controller,
    discovery: stack.controller,
    settings: {
      driverName: config.driverName,
      nodeName: config.nodeName,
      topologyValue: labelValueOf(config.nodeName),
      early: config.early,
      writePhase: config.writePhase,
      immediateOnThisNode: config.immediateOnThisNode,
      scoped: config.scoped,
      snapshots: config.snapshots,
      expansion: config.expansion,
      modification: config.modification,
      retainedYieldBelow: config.retainedYieldBelow,
      retainedPerNamespaceBytes: config.retainedPerNamespaceBytes,
      ...(config.capacity ? { capacityNamespace: config.namespace } : {}),
      tombstoneNamespace: config.namespace,
      workers,
      timeoutMs: driverTimeoutMs,
    },
  });
  closers.add('provisioner', () => provisioner.stop());
  checks.push({
    name: 'watches',
    kind: 'ready',
    problem: () => (provisioner.isFresh() ? undefined : 'claims, volumes and classes are not watched yet'),
  });
  // not awaited: volumes are mounted and unmounted whether or not there is an API server
  provisioner.start(signal).catch((error: unknown) => {
    if (!signal.aborted) log.error({ error }, 'the provisioner does not run');
  });
  return provisioner;
}
