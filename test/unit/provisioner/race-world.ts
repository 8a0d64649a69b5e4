import type { KubeApi } from '../../../src/kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import type { CsiDriver } from '../../../src/model/csi-driver.ts';
import type { VolumeLedger } from '../../../src/model/volume-ledger.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

export type End = 'delete' | 'recycle';

const volumeName = 'pvc-uid-1';

/**
 * A released volume, a provisioner that ends it, and everybody who may interfere, between any two of its calls: kube-controller-manager
 * binds, and a tenant who is bound stages the volume as soon as he can, writes, and lets go of it in the same instant.
 */
export class RaceWorld {
  readonly world = new World();
  /** volume id → uid of the claim that wrote what is in it */
  readonly written = new Map<string, string>([[volumeName, 'uid-1']]);
  readonly violations: string[] = [];
  /** Loam's calls since the claim went; the interference comes around one of them */
  calls = 0;
  readonly #end: End;
  #isDriverAtWork = false;
  #interfere: (when: 'before' | 'after') => void = () => {};

  constructor(end: End) {
    this.#end = end;
    if (end === 'delete') return;
    this.world.api.erase('StorageClass', 'fast');
    this.world.api.put(
      'StorageClass',
      aStorageClass({ parameters: { onRelease: 'recycle' }, reclaimPolicy: 'Retain' }),
    );
  }

  /** A claim has written to its volume and is gone; whatever happens from here on is interfered with. */
  async release(interfere: (when: 'before' | 'after', call: number) => void): Promise<void> {
    const { world } = this;
    world.driver.poolRooms = [
      { name: 'p', uuid: 'pool-1', sizeBytes: 1n << 40n, unpromisedBytes: 1n << 39n },
    ];
    await world.start({}, { api: this.#counted(world.api), driver: this.#watched() });
    world.claim({
      metadata: {
        annotations: { [annotations.selectedNode]: 'node-a', [annotations.storageProvisioner]: 'loam.dev' },
      },
    });
    await world.pass(0);
    world.bind();
    await world.pass(0);
    if (this.volume?.status?.phase !== 'Bound') throw new Error('the claim was not bound');
    this.#interfere = (when) => interfere(when, this.calls);
    this.calls = 0;
    world.deleteClaim();
  }

  get volume(): PersistentVolume | undefined {
    return this.world.volume(volumeName);
  }

  edit(change: (volume: PersistentVolume) => void): void {
    if (this.volume !== undefined) this.world.api.edit('PersistentVolume', volumeName, change);
  }

  addTenant(name: string, spec: Partial<PersistentVolumeClaim['spec']> = {}): void {
    const { api } = this.world;
    if (api.peek('PersistentVolumeClaim', `shop/${name}`) !== undefined) return;
    const metadata = { name, uid: `uid-of-${name}`, annotations: {} };
    api.put('PersistentVolumeClaim', aClaim({ metadata, spec }));
  }

  /** kube-controller-manager and kubelet do all that they can now. */
  turn(): void {
    this.#control();
    const claim = this.#boundClaim();
    const { driver } = this.world;
    const isReachable =
      driver.volumes.has(volumeName) &&
      !driver.closed.has(volumeName) &&
      !driver.recycling.has(volumeName) &&
      !this.#isDriverAtWork;
    if (claim === undefined || !isReachable) return;
    this.written.set(volumeName, claim.metadata.uid ?? '');
    driver.unused.delete(volumeName);
  }

  /** Claims that were bound to the PV, which names somebody else by now, or nobody. */
  robbed(): string[] {
    const ref = this.volume?.spec.claimRef;
    const claims = this.world.api.all('PersistentVolumeClaim');
    return claims
      .filter(({ metadata, status }) => status?.phase === 'Bound' && metadata.uid !== ref?.uid)
      .map(({ metadata }) => metadata.name);
  }

  #boundClaim(): PersistentVolumeClaim | undefined {
    const ref = this.volume?.spec.claimRef;
    if (ref === undefined || ref === null || this.volume?.status?.phase !== 'Bound') return undefined;
    const claim = this.world.api.peek('PersistentVolumeClaim', `${ref.namespace}/${ref.name}`);
    return claim?.metadata.uid === ref.uid && claim?.spec.volumeName === volumeName ? claim : undefined;
  }

  /** kubernetes-contracts: what the PV controller does about this PV and the claims that wait. */
  #control(): void {
    const { volume } = this;
    const { api } = this.world;
    if (volume === undefined) return;
    const ref = volume.spec.claimRef ?? undefined;
    const setPhase = (phase: 'Available' | 'Released' | 'Bound'): void => {
      if (this.volume?.status?.phase !== phase) this.edit((now) => void (now.status = { phase }));
    };
    if (ref === undefined || (ref.uid ?? '') === '') {
      setPhase('Available');
      const waiting = api.all('PersistentVolumeClaim').find(({ metadata, spec }) => {
        const isNamed =
          ref === undefined || (ref.namespace === metadata.namespace && ref.name === metadata.name);
        return isNamed && ['', undefined, volumeName].includes(spec.volumeName);
      });
      // a PV that is being deleted is never bound
      if (waiting === undefined || volume.metadata.deletionTimestamp !== undefined) return;
      const { name, uid = '' } = waiting.metadata;
      this.edit((now) => void (now.spec.claimRef = { namespace: 'shop', name, uid }));
      api.edit('PersistentVolumeClaim', `shop/${name}`, (now) => {
        now.spec.volumeName = volumeName;
        now.status = { phase: 'Bound' };
      });
      setPhase('Bound');
      this.edit(({ metadata }) => void (metadata.finalizers ??= []).push('kubernetes.io/pv-protection'));
      return;
    }
    const claim = api.peek('PersistentVolumeClaim', `${ref.namespace}/${ref.name}`);
    if (claim?.metadata.uid !== ref.uid) setPhase('Released');
  }

  #counted(api: KubeApi): KubeApi {
    const counted = ['get', 'patch', 'remove'];
    return new Proxy(api, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        const call = member.bind(target) as (...parts: unknown[]) => unknown;
        return counted.includes(String(key))
          ? (...parts: unknown[]) => this.#around(() => call(...parts))
          : call;
      },
    });
  }

  async #around(run: () => unknown): Promise<unknown> {
    this.#interfere('before');
    try {
      return await run();
    } finally {
      this.#interfere('after');
      this.calls += 1;
    }
  }

  /** The driver, which holds its volume's lock while it works, and whose every destruction is judged. */
  #watched(): CsiDriver & VolumeLedger {
    const { driver } = this.world;
    const guard = async (run: () => Promise<void>): Promise<void> => {
      this.#isDriverAtWork = true;
      const hadData = driver.volumes.has(volumeName) && !driver.unused.has(volumeName);
      try {
        this.#interfere('before');
        await run();
      } finally {
        const isEmptied = !driver.volumes.has(volumeName) || driver.unused.has(volumeName);
        const owner = this.written.get(volumeName) ?? '';
        if (hadData && isEmptied && owner !== 'uid-1')
          this.violations.push(`${this.#end}: the data of ${owner} was destroyed`);
        if (hadData && isEmptied) this.written.delete(volumeName);
        this.#interfere('after');
        this.#isDriverAtWork = false;
        this.calls += 1;
      }
    };
    return new Proxy(driver, {
      get: (target, key) => {
        if (key === 'deleteVolume')
          return (...parts: Parameters<CsiDriver['deleteVolume']>) =>
            guard(() => target.deleteVolume(parts[0]));
        if (key === 'recycle')
          return (...parts: Parameters<VolumeLedger['recycle']>) => guard(() => target.recycle(...parts));
        const member: unknown = Reflect.get(target, key, target);
        return typeof member === 'function' ? (member.bind(target) as unknown) : member;
      },
    });
  }
}
