import type { KubeApi } from '../../../src/kube/kube-api.ts';
import type { PersistentVolumeClaim, Pod } from '../../../src/kube/objects.ts';
import { LostNodes } from '../../../src/lost-nodes/lost-nodes.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { ClusterUser } from '../../support/cluster-user.ts';
import type { ControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';

const namespace = 'default';

/** A bound claim with a pod on a node that there is not, and the controllers that a test lets look after it. No disk is needed. */
export class LostClaim {
  readonly user: ClusterUser;
  readonly name: string;
  readonly #plane: ControlPlane;
  readonly #stops: AbortController[] = [];
  #claimUid = '';

  constructor(plane: ControlPlane, name: string) {
    this.#plane = plane;
    this.name = name;
    this.user = new ClusterUser(plane.api, `${name}.loam.test`);
  }

  get driverName(): string {
    return this.user.driverName;
  }

  /** Bound by the binder, used by a pod that only a kubelet, or force, could end. */
  async make(policy: string): Promise<void> {
    const { name, driverName } = this;
    const spec = { volumeName: name };
    const claim = await this.user.createClaim({ className: 'lost', name, size: '1Mi', spec });
    this.#claimUid = claim.metadata.uid ?? '';
    await this.#plane.api.create(
      'PersistentVolume',
      {
        metadata: {
          name,
          annotations: { 'pv.kubernetes.io/provisioned-by': driverName, 'loam.dev/on-node-loss': policy },
          finalizers: ['external-provisioner.volume.kubernetes.io/finalizer'],
        },
        spec: {
          accessModes: ['ReadWriteOnce'],
          capacity: { storage: '1Mi' },
          storageClassName: 'lost',
          persistentVolumeReclaimPolicy: 'Delete',
          claimRef: { namespace, name, uid: this.#claimUid },
          nodeAffinity: {
            required: {
              nodeSelectorTerms: [
                { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: [name] }] },
              ],
            },
          },
          csi: {
            driver: driverName,
            volumeHandle: name,
            volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' },
          },
        },
      },
      soon(),
    );
    await this.user.untilBound(claim);
    await this.#plane.api.create('Pod', podOn(name, name, name), soon());
  }

  /** A controller of one's own. @param api possibly one that is going to die */
  lookAfter(api: KubeApi = this.#plane.api): void {
    const stop = new AbortController();
    this.#stops.push(stop);
    const settings = {
      driverName: this.driverName,
      namespace,
      identity: 'test',
      nodeLoss: 'recreate',
    } as const;
    const lostNodes = new LostNodes({
      api,
      settings,
      clock: systemClock,
      log: silentLog,
      metrics: noMetrics,
    });
    void lostNodes.run(stop.signal);
  }

  /** Everything that belongs to the end of a recreation is as it should be. */
  async isOver(): Promise<true> {
    const { name } = this;
    const claim = await this.claim();
    if (claim === undefined || claim.metadata.uid === this.#claimUid)
      throw new NotYet('the claim is the old one');
    if ((claim.spec.volumeName ?? '') !== '') throw new Error(`the new claim names ${claim.spec.volumeName}`);
    for (const kind of ['PersistentVolume', 'Pod'] as const) {
      const key = kind === 'Pod' ? { namespace, name } : { name };
      if ((await this.user.find(kind, { metadata: key })) !== undefined)
        throw new NotYet(`the ${kind} is there`);
    }
    const stones = (await this.tombstones()).map(({ data = {} }) => `${data['recreate']} ${data['erase']}`);
    if (stones.join() !== 'done yes') throw new NotYet(`tombstones: ${stones.join()}`);
    return true;
  }

  untilOver(timeoutMs = 40_000): Promise<true> {
    return eventually(`the recreation of ${this.name}`, () => this.isOver(), timeoutMs);
  }

  claim(): Promise<PersistentVolumeClaim | undefined> {
    return this.user.find('PersistentVolumeClaim', { metadata: { namespace, name: this.name } });
  }

  async tombstones() {
    const labelSelector = `loam.dev/tombstone=${this.name}`;
    return (await this.#plane.api.list('ConfigMap', { namespace, labelSelector }, soon())).items;
  }

  /** The controllers stop, and nothing of it stays for other tests. */
  async end(): Promise<void> {
    for (const stop of this.#stops) stop.abort(new Error('the test is over'));
    for (const { metadata } of await this.tombstones())
      await this.#plane.api.remove('ConfigMap', { ...metadata, namespace }, soon());
    const claim = await this.claim();
    if (claim !== undefined) await this.user.delete('PersistentVolumeClaim', claim);
  }
}

export function podOn(name: string, nodeName: string, claimName: string): Pod {
  const spec = {
    nodeName,
    terminationGracePeriodSeconds: 30,
    automountServiceAccountToken: false,
    containers: [{ name: 'main', image: 'none', volumeMounts: [{ name: 'data', mountPath: '/data' }] }],
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }],
  };
  return { metadata: { name, namespace }, spec };
}

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}
