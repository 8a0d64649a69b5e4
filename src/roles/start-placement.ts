import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/config.ts';
import { createKubeApi, loadKubeAccess } from '../kube/client.ts';
import { LeaseElection } from '../kube/lease-election.ts';
import { LostNodes } from '../lost-nodes/lost-nodes.ts';
import { messageOf } from '../model/errors.ts';
import type { Check } from '../observe/status-server.ts';
import { Placement } from '../placement/placement.ts';
import type { Closers } from './closers.ts';
import { version } from './version.ts';
import type { ProcessContext } from './volume-stack.ts';

const leaseName = 'loam-controller';

type PlacementConfig = Pick<
  Config,
  'driverName' | 'namespace' | 'leaderElect' | 'unreachableAfterMs' | 'nodeLoss' | 'kube' | 'scoped'
>;

/** Sets the gauges that are only worth computing for a scrape. */
export type Measure = () => void;

/**
 * Placement, and what becomes of volumes on lost nodes, for as long as this process leads, until the context's signal aborts; its closer
 * waits until both have ended and the Lease is released. Each term begins from nothing: a process that only stands by watches nothing and costs little.
 */
export function startPlacement(
  config: PlacementConfig,
  context: ProcessContext,
  checks: Check[],
  closers: Closers,
): Measure {
  const { clock, log, metrics, signal } = context;
  const api = createKubeApi(loadKubeAccess(config.kube?.kubeconfigPath), {
    metrics,
    userAgent: `loam/${version} placement`,
  });
  closers.add('API client of placement', () => api.close());
  const podName = process.env['POD_NAME'] ?? '';
  // one pod of a name at a time; of a host there may be several processes
  const identity = podName === '' ? `${hostname()}-${randomBytes(4).toString('hex')}` : podName;
  const settings = { ...config, identity };
  let placement: Placement | undefined;
  let lostNodes: LostNodes | undefined;
  const work = async (term: AbortSignal): Promise<void> => {
    placement = new Placement({ api, settings, clock, log, metrics });
    lostNodes = new LostNodes({ api, settings, clock, log, metrics });
    await Promise.all([placement.run(term), lostNodes.run(term)]).finally(() => {
      placement = undefined;
      lostNodes = undefined;
    });
  };
  const watched = (): string | undefined =>
    placement?.isFresh() === true ? undefined : 'claims, volumes, classes and nodes are not watched yet';
  let running: Promise<void>;
  if (config.leaderElect) {
    const { namespace } = config;
    const election = new LeaseElection({ api, namespace, name: leaseName, identity, clock, log, metrics });
    checks.push({ name: 'lease', kind: 'ready', problem: () => election.problem() });
    // who stands by is ready to take over
    checks.push({
      name: 'placement',
      kind: 'ready',
      problem: () => (election.isLeader() ? watched() : undefined),
    });
    running = election.run(work, signal);
  } else {
    checks.push({ name: 'placement', kind: 'ready', problem: watched });
    running = work(signal);
  }
  let failure: string | undefined;
  const ended = running.catch((error: unknown) => {
    if (signal.aborted) return;
    failure = messageOf(error);
    log.error({ err: error }, 'placement does not run');
  });
  // only a new process would begin again
  checks.push({ name: 'placement loop', kind: 'live', problem: () => failure });
  closers.add('placement', () => ended);
  return () => {
    placement?.measure();
    lostNodes?.measure();
  };
}
