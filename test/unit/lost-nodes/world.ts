import { expect } from 'vitest';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../../src/kube/objects.ts';
import { LostNodes } from '../../../src/lost-nodes/lost-nodes.ts';
import { silentLog } from '../../../src/model/log.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { aCsiNode, aNode } from '../placement/builders.ts';

export const minuteMs = 60_000;
export const onNodeLoss = 'loam.dev/on-node-loss';
export const lostSince = 'loam.dev/node-lost-since';

/** A cluster in memory: node-a with one bound claim and its pod, node-b beside it; the controllers of Kubernetes as far as they matter. */
export class World {
  readonly api = new FakeKubeApi();
  readonly clock = new ManualClock();
  /** what the controller may do */
  nodeLoss: 'off' | 'release' | 'recreate' = 'recreate';
  readonly #endings: { readonly stop: AbortController; readonly ended: Promise<void> }[] = [];

  constructor(policy?: string, volume: Parameters<typeof aPersistentVolume>[0] = {}) {
    for (const name of ['node-a', 'node-b']) {
      this.api.put('Node', aNode(name));
      this.api.put('CSINode', aCsiNode(name));
    }
    this.api.put('PersistentVolumeClaim', boundClaim());
    const made = aPersistentVolume(volume);
    made.metadata.annotations = {
      ...made.metadata.annotations,
      ...(policy === undefined ? {} : { [onNodeLoss]: policy }),
    };
    made.metadata.finalizers = [...(made.metadata.finalizers ?? []), 'kubernetes.io/pv-protection'];
    this.api.put('PersistentVolume', made);
    this.addPod('db-0', 'node-a');
  }

  /** @param api wrapped, as of a process that is going to die */
  async start(api: KubeApi = this.api): Promise<AbortController> {
    const stop = new AbortController();
    const lostNodes = new LostNodes({
      api,
      settings: { driverName: 'loam.dev', namespace: 'loam', identity: 'c-1', nodeLoss: this.nodeLoss },
      clock: this.clock,
      log: silentLog,
      metrics: { count: () => {}, gauge: () => {}, observeSeconds: () => {} },
    });
    const ended = lostNodes.run(stop.signal);
    if (api === this.api) this.#endings.push({ stop, ended });
    await this.pass(0);
    return stop;
  }

  async end(): Promise<void> {
    const endings = this.#endings.splice(0);
    for (const { stop } of endings) stop.abort(new Error('the test is over'));
    await this.pass(5_000);
    await Promise.all(endings.map(({ ended }) => ended));
  }

  async pass(byMs: number): Promise<void> {
    await this.clock.advance(byMs);
    for (let turn = 0; turn < 10; turn += 1) {
      this.control();
      await this.clock.advance(0);
    }
  }

  /** Longer than any back-off between steps. */
  async passSteps(steps = 6): Promise<void> {
    for (let step = 0; step < steps; step += 1) await this.pass(31_000);
  }

  /** pvc-protection, the binder and pv-protection, each once. */
  control(): void {
    for (const claim of this.api.all('PersistentVolumeClaim')) {
      if (claim.metadata.deletionTimestamp === undefined || this.#isUsed(claim)) continue;
      this.api.edit('PersistentVolumeClaim', keyOf(claim), ({ metadata }) => {
        metadata.finalizers =
          metadata.finalizers?.filter((name) => name !== 'kubernetes.io/pvc-protection') ?? [];
      });
    }
    for (const { metadata, spec, status } of this.api.all('PersistentVolume')) {
      const { namespace, name, uid } = spec.claimRef ?? {};
      const claim = this.api.peek('PersistentVolumeClaim', `${namespace}/${name}`);
      if (claim?.metadata.uid !== uid && status?.phase === 'Bound') {
        this.api.edit(
          'PersistentVolume',
          metadata.name,
          (found) => void (found.status = { phase: 'Released' }),
        );
      } else if (metadata.deletionTimestamp !== undefined && status?.phase !== 'Bound') {
        this.api.edit('PersistentVolume', metadata.name, (found) => {
          found.metadata.finalizers =
            found.metadata.finalizers?.filter((each) => each !== 'kubernetes.io/pv-protection') ?? [];
        });
      }
    }
  }

  addPod(name: string, node: string, claimName = 'data', parts: Partial<Pod> = {}): void {
    this.api.put('Pod', {
      metadata: { name, namespace: 'shop', uid: `uid-${name}` },
      spec: { nodeName: node, volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
      ...parts,
    });
  }

  /** The Node object is deleted, and what belongs to it. */
  loseNode(name = 'node-a'): void {
    this.api.erase('Node', name);
    this.api.erase('CSINode', name);
  }

  setReady(isReady: boolean, since = new Date(this.clock.nowMs()), name = 'node-a'): void {
    this.api.edit('Node', name, (node) => {
      node.status = aNode(name, { isReady, notReadySince: since.toISOString() }).status ?? {};
    });
  }

  returnNode(name = 'node-a'): void {
    this.api.put('Node', aNode(name));
    this.api.put('CSINode', aCsiNode(name));
  }

  volume(): PersistentVolume | undefined {
    return this.api.peek('PersistentVolume', 'pvc-uid-1');
  }

  /** It is there, and nobody has deleted it. */
  expectVolumeStays(): void {
    expect(this.volume()?.metadata.name).toBe('pvc-uid-1');
    expect(this.volume()?.metadata.deletionTimestamp).toBeUndefined();
  }

  /** As the process on the node does. */
  takeMarkOff(): void {
    this.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => {
      const { [lostSince]: _, ...rest } = metadata.annotations ?? {};
      metadata.annotations = rest;
    });
  }

  mark(): string | undefined {
    return this.volume()?.metadata.annotations?.[lostSince];
  }

  annotate(annotations: Readonly<Record<string, string>>): void {
    this.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, ...annotations };
    });
  }

  claim(): PersistentVolumeClaim | undefined {
    return this.api.peek('PersistentVolumeClaim', 'shop/data');
  }

  /** A person deletes the claim and its pod. */
  dropClaim(): void {
    this.api.erase('Pod', 'shop/db-0');
    this.api.erase('PersistentVolumeClaim', 'shop/data');
    this.control();
    this.control();
  }

  tombstones(): Readonly<Record<string, string>>[] {
    return this.api.all('ConfigMap').map(({ data = {} }) => data);
  }

  events(): string[] {
    return this.api.all('Event').map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
  }

  /** What was written, but for events. */
  writes(): string[] {
    return this.api.calls
      .filter(({ verb, kind }) => kind !== 'Event' && ['create', 'patch', 'remove'].includes(verb))
      .map(({ verb, kind, body }) => {
        const grace = (body as { gracePeriodSeconds?: number } | undefined)?.gracePeriodSeconds;
        return `${verb} ${kind}${grace === undefined ? '' : ` grace ${grace}`}`;
      });
  }

  #isUsed(claim: PersistentVolumeClaim): boolean {
    return this.api
      .all('Pod')
      .some(({ metadata, spec }) =>
        metadata.namespace === claim.metadata.namespace
          ? spec?.volumes?.some((each) => each.persistentVolumeClaim?.claimName === claim.metadata.name)
          : false,
      );
  }
}

export function boundClaim(parts: Parameters<typeof aClaim>[0] = {}): PersistentVolumeClaim {
  return aClaim({
    metadata: {
      finalizers: ['kubernetes.io/pvc-protection'],
      labels: { app: 'db', 'loam.dev/node': 'node-a' },
      annotations: {
        'volume.kubernetes.io/selected-node': 'node-a',
        'volume.kubernetes.io/storage-provisioner': 'loam.dev',
        'pv.kubernetes.io/bind-completed': 'yes',
        'pv.kubernetes.io/bound-by-controller': 'yes',
        team: 'blue',
      },
      ...parts.metadata,
    },
    spec: { volumeName: 'pvc-uid-1', ...parts.spec },
    status: { phase: 'Bound' },
  });
}

function keyOf({ metadata }: PersistentVolumeClaim): string {
  return `${metadata.namespace}/${metadata.name}`;
}
