import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, NotYet } from './eventually.ts';
import { whyNoGo } from './go-tools.ts';

const run = promisify(execFile);
const script = join(import.meta.dirname, '../../scripts/cluster');

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

const inLoams = ['--namespace=loam-system'];

/** The pid of Loam in its container, as this machine counts. */
export function loamPid(): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const isInPod = readFileSync(`/proc/${name}/cgroup`, 'utf8').includes('/loam-cluster/');
      if (isInPod && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('/loam.mjs\0'))
        return Number(name);
    } catch {
      // it ended meanwhile
    }
  }
  return undefined;
}

interface Listed {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec?: Record<string, unknown>;
  readonly status?: { readonly phase?: string; readonly conditions?: readonly Condition[] };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

/** The cluster that `scripts/cluster` keeps, as kubectl sees it. Everything is in the namespace `default`. */
export class RealCluster {
  async kubectl(args: readonly string[], stdin?: string): Promise<string> {
    const child = run(script, ['kubectl', ...args], { maxBuffer: 2 ** 24, timeout: 120_000 });
    child.child.stdin?.end(stdin ?? '');
    return (await child).stdout.trim();
  }

  async apply(...objects: readonly object[]): Promise<void> {
    await this.kubectl(['apply', '-f', '-'], objects.map((object) => JSON.stringify(object)).join('\n---\n'));
  }

  /** One field, as kubectl's jsonpath finds it; empty where the object or the field is not there. */
  field(kind: string, name: string, path: string): Promise<string> {
    return this.kubectl(['get', kind, name, '--ignore-not-found', `--output=jsonpath={${path}}`]);
  }

  /** What the program printed, with the shell of the pod's first container. */
  sh(pod: string, line: string): Promise<string> {
    return this.kubectl(['exec', pod, '--', 'sh', '-c', line]);
  }

  async untilRunning(pod: string, timeoutMs = 60_000): Promise<void> {
    await eventually(
      `pod ${pod} ready`,
      async () => {
        const text = await this.kubectl(['get', 'pod', pod, '--ignore-not-found', '--output=json']);
        const { status } = (text === '' ? {} : JSON.parse(text)) as Partial<Listed>;
        if (status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'))
          return true;
        throw new NotYet(`${status?.phase}; ${(await this.eventsOf(pod)).join(' | ')}`);
      },
      timeoutMs,
    );
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
    );
  }

  /** `reason: message` of everybody's events about an object of that name. */
  async eventsOf(name: string): Promise<readonly string[]> {
    const text = await this.kubectl([
      'get',
      'events',
      `--field-selector=involvedObject.name=${name}`,
      '--output=jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
    ]);
    return text.split('\n').filter((line) => line !== '');
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
    );
  }

  /** kill -9 of Loam's process; its container is started again by kubelet. */
  async killLoam(): Promise<void> {
    const pid = loamPid();
    if (pid === undefined) throw new Error('no process of Loam runs in the cluster');
    process.kill(pid, 'SIGKILL');
    await eventually('the process of Loam gone', () => loamPid() !== pid);
  }

  /** Takes Loam's pod from the node, as an upgrade does in its middle. */
  async stopLoam(): Promise<void> {
    await this.#selectNodes({ 'loam.dev/absent': 'true' });
    await eventually('no process of Loam', () => loamPid() === undefined, 60_000);
  }

  async startLoam(): Promise<void> {
    await this.#selectNodes({ 'loam.dev/absent': null });
    await this.untilLoamReady();
  }

  async untilLoamReady(): Promise<void> {
    await eventually(
      'Loam ready',
      async () => {
        const text = await this.kubectl([...inLoams, 'get', 'daemonset', 'loam-node', '--output=json']);
        const { status } = JSON.parse(text) as { readonly status: Record<string, number | undefined> };
        if (loamPid() !== undefined && status['numberReady'] === 1) return true;
        throw new NotYet(JSON.stringify(status));
      },
      90_000,
    );
  }

  async #selectNodes(nodeSelector: object): Promise<void> {
    const patch = JSON.stringify({ spec: { template: { spec: { nodeSelector } } } });
    await this.kubectl([...inLoams, 'patch', 'daemonset', 'loam-node', '--type=merge', `--patch=${patch}`]);
  }

  /** Returns when they are gone; nothing is forced. */
  async remove(kind: string, ...names: readonly string[]): Promise<void> {
    await this.kubectl(['delete', kind, ...names, '--ignore-not-found', '--timeout=90s']);
  }
}
