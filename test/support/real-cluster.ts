import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../../src/model/errors.ts';
import { ClusterReader } from './cluster-reader.ts';
import { eventually, NotYet } from './eventually.ts';
import { whyNoGo } from './go-tools.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const script = join(root, 'scripts/cluster');
const dataPath = join(process.env['LOAM_CACHE'] ?? join(root, '.cache'), 'cluster');
const runPath = '/run/loam-cluster';

/** Why no real node can be started here, for the names of skipped tests; undefined where it can. */
export async function whyNoCluster(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'root is needed for a kubelet';
  return whyNoGo();
}

/** Calls `scripts/cluster`; its progress goes to stderr when it is to be seen. */
export async function clusterScript(...args: readonly string[]): Promise<string> {
  const { stdout } = await run(script, args, { maxBuffer: 2 ** 24, timeout: 1_800_000 });
  return stdout.trim();
}

const kubeconfigPath = join(dataPath, 'admin.kubeconfig');
const reader = new ClusterReader(() => kubeconfigPath);
/** A look takes the API server some milliseconds. */
const lookEveryMs = 50;
/** A look is a kubectl, which takes a tenth of a second of a processor from what is waited for. */
export const kubectlEveryMs = 200;
/** A look is one at all processes of the machine. */
const processesEveryMs = 100;

const inLoams = ['--namespace=loam-system'];

/** The nodes that are up, with or without a kubelet. */
export function nodesOfCluster(): readonly string[] {
  const names = existsSync(runPath) ? readdirSync(runPath).toSorted() : [];
  return names.filter((name) => existsSync(join(runPath, name, 'namespaces.pid')));
}

/** What a command printed in a node's mount and network namespaces: works without an API server. */
export function onNode(node: string, ...command: readonly string[]): Promise<string> {
  return clusterScript('shell', node, ...command);
}

/** A node's folder as this machine sees it: without what is mounted on the node. */
export function folderOfNode(node: string, path: `/var/${string}`): string {
  return join(dataPath, node, path);
}

/** The mounts in a node's mount namespace, a line of mountinfo each. */
export function mountsOfNode(node: string): readonly string[] {
  const [pid] = readFileSync(join(runPath, node, 'namespaces.pid'), 'utf8').split(' ');
  return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trimEnd().split('\n');
}

/** The pid of Loam's process of that node, as this machine counts. */
export function loamPid(node: string): number | undefined {
  // not the controller, which may run there too
  return pidWhere(`/loam-cluster/${node}/`, '/loam.mjs\0node\0');
}

/** The pid of Loam's process, of whichever role, in the pod with that uid. */
export function pidInPod(uid: string): number | undefined {
  return pidWhere(`pod${uid}`, '/loam.mjs\0');
}

function pidWhere(inCgroup: string, inCommand: string): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (
        readFileSync(`/proc/${name}/cgroup`, 'utf8').includes(inCgroup) &&
        readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(inCommand)
      )
        return Number(name);
    } catch {
      // it ended meanwhile
    }
  }
  return undefined;
}

interface PodConditions {
  readonly status?: { readonly phase?: string; readonly conditions?: readonly Condition[] };
}

interface DaemonSet {
  readonly metadata: { readonly generation: number };
  readonly status: Readonly<Record<string, number | undefined>>;
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

/** The cluster that `scripts/cluster` keeps, as kubectl sees it. Everything is in one namespace, `default` unless told. */
export class RealCluster {
  readonly namespace: string;
  readonly #flags: readonly string[];

  constructor(namespace?: string) {
    this.namespace = namespace ?? 'default';
    // manifests may name others where none is told
    this.#flags = namespace === undefined ? [] : [`--namespace=${namespace}`];
  }

  async kubectl(args: readonly string[], stdin?: string): Promise<string> {
    // not through the script, which takes as long again as kubectl itself, and there are thousands of these
    const flags = [`--kubeconfig=${kubeconfigPath}`, ...this.#flags];
    const child = run(join(dataPath, 'kubectl'), [...flags, ...args], {
      maxBuffer: 2 ** 24,
      timeout: 120_000,
    });
    child.child.stdin?.end(stdin ?? '');
    return (await child).stdout.trim();
  }

  async apply(...objects: readonly object[]): Promise<void> {
    await this.kubectl(['apply', '-f', '-'], objects.map((object) => JSON.stringify(object)).join('\n---\n'));
  }

  /** One field, as kubectl's jsonpath finds it; empty where the object or the field is not there. */
  field(kind: string, name: string, path: string): Promise<string> {
    if (reader.canTell(kind, path)) return reader.field(kind, this.namespace, name, path);
    return this.kubectl(['get', kind, name, '--ignore-not-found', `--output=jsonpath={${path}}`]);
  }

  /** What the program printed, with the shell of the pod's first container. */
  sh(pod: string, line: string): Promise<string> {
    return this.kubectl(['exec', pod, '--', 'sh', '-c', line]);
  }

  async untilRunning(pod: string, timeoutMs = 60_000): Promise<void> {
    try {
      await eventually(
        `pod ${pod} ready`,
        async () => {
          // of a Pod's status Loam reads less than we do
          const found = (await reader.find('pod', this.namespace, pod)) as PodConditions | undefined;
          const { conditions, phase } = found?.status ?? {};
          if (conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')) return true;
          throw new NotYet(`its phase is ${phase}`);
        },
        timeoutMs,
        lookEveryMs,
      );
    } catch (error) {
      const heard = (await this.eventsOf(pod)).join(' | ');
      throw new Error(`${messageOf(error)}; heard: ${heard}`, { cause: error });
    }
  }

  /** A kubelet that was just started does not know its pods at once. */
  async untilReachable(pod: string): Promise<void> {
    await eventually(`exec into ${pod}`, async () => {
      try {
        await this.sh(pod, 'true');
        return true;
      } catch (error) {
        throw new NotYet(String(error));
      }
    });
  }

  async untilField(
    kind: string,
    name: string,
    path: string,
    wanted: string,
    timeoutMs = 60_000,
  ): Promise<void> {
    await eventually(
      `${path} of ${kind} ${name} to be ${wanted}`,
      async () => {
        const found = await this.field(kind, name, path);
        if (found === wanted) return true;
        throw new NotYet(`it is ${found}`);
      },
      timeoutMs,
      reader.canTell(kind, path) ? lookEveryMs : kubectlEveryMs,
    );
  }

  async untilBound(claims: readonly string[], timeoutSeconds = 60): Promise<void> {
    const condition = '--for=jsonpath={.status.phase}=Bound';
    await this.kubectl(['wait', condition, 'pvc', ...claims, `--timeout=${timeoutSeconds}s`]);
  }

  /** The nodes of all PVs, by `namespace/name` of the claims that they are for. */
  async nodesOfVolumes(): Promise<ReadonlyMap<string, string>> {
    const node = '.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]';
    const text = await this.kubectl([
      'get',
      'pv',
      `--output=jsonpath={range .items[*]}{.spec.claimRef.namespace}/{.spec.claimRef.name} {${node}}{"\\n"}{end}`,
    ]);
    const lines = text.split('\n').filter((line) => line !== '');
    const pairs = lines.map((line): [string, string] => [line.split(' ')[0] ?? '', line.split(' ')[1] ?? '']);
    if (new Set(pairs.map(([claim]) => claim)).size < pairs.length)
      throw new Error(`claims with two PVs: ${lines.join(', ')}`);
    return new Map(pairs);
  }

  /** `reason: message` of everybody's events about an object of that name. */
  async eventsOf(name: string): Promise<readonly string[]> {
    const events = await reader.eventsOf(this.namespace, name);
    return events.map(({ reason, message }) => `${reason}: ${message}`);
  }

  /** How often what was warned of: `count reason: message` of everybody's Warning events about an object of that name. */
  async warningsAbout(name: string): Promise<readonly string[]> {
    const events = await reader.eventsOf(this.namespace, name);
    const warnings = events.filter(({ type }) => type === 'Warning');
    return warnings.map(({ count, reason, message }) => `${count ?? ''} ${reason}: ${message}`);
  }

  untilEvent(name: string, pattern: RegExp, timeoutMs = 60_000): Promise<string> {
    return eventually(
      `an event ${String(pattern)} about ${name}`,
      async () => {
        const events = await this.eventsOf(name);
        const found = events.find((event) => pattern.test(event));
        if (found !== undefined) return found;
        throw new NotYet(`heard: ${events.join(' | ')}`);
      },
      timeoutMs,
      lookEveryMs,
    );
  }

  /** Where a pod runs; empty before it is scheduled. */
  nodeOf(pod: string): Promise<string> {
    return this.field('pod', pod, '.spec.nodeName');
  }

  /** kill -9 of Loam's process on a node; its container is started again by kubelet. */
  async killLoam(node: string): Promise<void> {
    const pid = loamPid(node);
    if (pid === undefined) throw new Error(`no process of Loam runs on ${node}`);
    process.kill(pid, 'SIGKILL');
    await eventually('the process of Loam gone', () => loamPid(node) !== pid);
  }

  /** Takes Loam's pod from the nodes (all of them when none is named), as an upgrade does in its middle. */
  async stopLoam(...nodes: readonly string[]): Promise<void> {
    const absent = nodes.length === 0 ? nodesOfCluster() : nodes;
    await this.#labelNodes(absent, 'loam.dev/absent=true');
    await eventually(
      `no process of Loam on ${absent.join(', ')}`,
      () => absent.every((node) => loamPid(node) === undefined),
      60_000,
      processesEveryMs,
    );
  }

  async startLoam(): Promise<void> {
    await this.#labelNodes(nodesOfCluster(), 'loam.dev/absent-');
    await this.untilLoamReady();
  }

  /** On all nodes, and in the version that was last asked for. */
  async untilLoamReady(): Promise<void> {
    const nodes = nodesOfCluster();
    await eventually(
      'Loam ready',
      async () => {
        const text = await this.kubectl([...inLoams, 'get', 'daemonset', 'loam-node', '--output=json']);
        const { metadata, status } = JSON.parse(text) as DaemonSet;
        const isSeen = status['observedGeneration'] === metadata.generation;
        const numbers = ['desiredNumberScheduled', 'updatedNumberScheduled', 'numberReady'];
        if (isSeen && numbers.every((name) => status[name] === nodes.length) && nodes.every(loamPid))
          return true;
        throw new NotYet(JSON.stringify(status));
      },
      120_000,
      kubectlEveryMs,
    );
  }

  /** `scripts/cluster up --loam` keeps Loam from nodes that have this label. */
  async #labelNodes(nodes: readonly string[], label: string): Promise<void> {
    await this.kubectl(['label', 'node', ...nodes, label, '--overwrite']);
  }

  /** Returns when they are gone; nothing is forced. Of no names there is nothing to do, as where one test alone was run. */
  async remove(kind: string, ...names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await this.kubectl(['delete', kind, ...names, '--ignore-not-found', '--timeout=90s']);
  }
}
