import { expect } from 'vitest';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import type { KubeEvent, PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import type { CsiDriver } from '../../../src/model/csi-driver.ts';
import { silentLog, type Log } from '../../../src/model/log.ts';
import type { VolumeLedger } from '../../../src/model/volume-ledger.ts';
import type { DiscoverySource } from '../../../src/provisioner/adoption/discovery-loop.ts';
import { Provisioner } from '../../../src/provisioner/provisioner.ts';
import type { ProvisionerSettings } from '../../../src/provisioner/provisioner-settings.ts';
import { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';

export const settings: ProvisionerSettings = {
  driverName: 'loam.dev',
  nodeName: 'node-a',
  topologyValue: 'node-a',
  early: true,
  writePhase: true,
  immediateOnThisNode: false,
  workers: 10,
  timeoutMs: 10_000,
};

/** A cluster and a disk that outlive the provisioners on them. Nothing here waits in real time. */
export class World {
  readonly clock = new ManualClock();
  readonly api = new FakeKubeApi();
  readonly driver = new FakeCsiDriver({ name: 'loam.dev', topologyValue: 'node-a' });
  readonly counted: string[] = [];
  readonly #running: Provisioner[] = [];

  constructor() {
    this.driver.nowMs = () => this.clock.nowMs();
    this.api.put('Namespace', { metadata: { name: 'kube-system', uid: 'cluster-1' } });
    this.api.put('StorageClass', aStorageClass());
  }

  /** Starts a provisioner, as a process would; `api` and `driver` may be wrapped. */
  async start(
    changes: Partial<ProvisionerSettings> = {},
    wrapped: {
      readonly api?: KubeApi;
      readonly driver?: CsiDriver & VolumeLedger;
      readonly isMortal?: boolean;
      readonly discovery?: DiscoverySource;
      readonly log?: Log;
    } = {},
  ): Promise<Provisioner> {
    const driver = wrapped.driver ?? this.driver;
    const provisioner = new Provisioner({
      api: wrapped.api ?? this.api,
      driver,
      ledger: driver,
      ...(wrapped.discovery === undefined ? {} : { discovery: wrapped.discovery }),
      settings: { ...settings, ...changes },
      clock: this.clock,
      log: wrapped.log ?? silentLog,
      metrics: { count: (name) => void this.counted.push(name), gauge: () => {}, observeSeconds: () => {} },
    });
    // what a dead process still waits for never comes
    if (wrapped.isMortal !== true) this.#running.push(provisioner);
    // a process that was killed half-way through its start never comes back from it
    void provisioner.start(new AbortController().signal).catch(() => {});
    await this.pass(0);
    return provisioner;
  }

  async end(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((provisioner) => provisioner.stop()));
  }

  /** Lets what can happen happen, and time pass. */
  async pass(byMs: number): Promise<void> {
    await this.clock.advance(byMs);
    // chains of fakes are longer than one turn of the event loop
    for (let turn = 0; turn < 10; turn += 1) await this.clock.advance(0);
  }

  /** A user makes a claim (and the scheduler chose node-a). */
  claim(parts: Parameters<typeof aClaim>[0] = {}): PersistentVolumeClaim {
    return this.api.put('PersistentVolumeClaim', aClaim(parts));
  }

  /** kube-controller-manager binds what fits together. */
  bind(): void {
    for (const volume of this.api.all('PersistentVolume')) {
      const ref = volume.spec.claimRef ?? {};
      const key = `${ref.namespace}/${ref.name}`;
      const claim = this.api.peek('PersistentVolumeClaim', key);
      if (claim === undefined || claim.metadata.uid !== ref.uid || claim.spec.volumeName !== undefined)
        continue;
      this.api.edit(
        'PersistentVolume',
        volume.metadata.name,
        (bound) => void (bound.status = { phase: 'Bound' }),
      );
      this.api.edit('PersistentVolumeClaim', key, (bound) => {
        bound.spec.volumeName = volume.metadata.name;
        bound.status = { phase: 'Bound' };
      });
    }
  }

  /** The claim is deleted, and kube-controller-manager sees it. */
  deleteClaim(): void {
    this.api.erase('PersistentVolumeClaim', 'shop/data');
    this.release();
  }

  /** kube-controller-manager sees that claims are gone. */
  release(): void {
    for (const volume of this.api.all('PersistentVolume')) {
      const ref = volume.spec.claimRef;
      if (ref === undefined || ref === null) continue;
      const claim = this.api.peek('PersistentVolumeClaim', `${ref.namespace}/${ref.name}`);
      if (claim?.metadata.uid === ref.uid || volume.status?.phase === 'Failed') continue;
      this.api.edit(
        'PersistentVolume',
        volume.metadata.name,
        (left) => void (left.status = { phase: 'Released' }),
      );
    }
  }

  volume(name = 'pvc-uid-1'): PersistentVolume | undefined {
    return this.api.peek('PersistentVolume', name);
  }

  /** A claim that has its volume and is bound to it. */
  async bound(): Promise<PersistentVolume> {
    this.claim();
    await this.pass(0);
    this.bind();
    await this.pass(0);
    const volume = this.volume();
    if (volume === undefined) throw new Error('no volume was provisioned');
    return volume;
  }

  events(): string[] {
    return this.api
      .all('Event')
      .map(({ type, reason, message }: KubeEvent) => `${type} ${reason}: ${message}`);
  }

  /** Writes and reads of one kind since the last look. */
  callsOf(kind: 'PersistentVolume' | 'PersistentVolumeClaim' | 'StorageClass'): string[] {
    return this.api.calls
      .filter((call) => call.kind === kind && call.verb !== 'list' && call.verb !== 'watch')
      .map(({ verb, name }) => `${verb} ${name}`);
  }

  /** Nothing of the claim is on the disk or in the API. */
  expectNothingLeft(): void {
    expect([...this.driver.volumes.keys()]).toEqual([]);
    expect(this.volume()).toBeUndefined();
  }

  /** Exactly one volume, one PV for it, and the ledger knows. */
  expectProvisioned(): void {
    expect(this.volume()).toMatchObject({
      spec: {
        claimRef: { uid: 'uid-1' },
        csi: { volumeHandle: 'pvc-uid-1', volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' } },
      },
    });
    expect([...this.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    expect(this.driver.unacknowledged()).toEqual([]);
  }
}
