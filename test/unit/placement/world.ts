import type { CsiStorageCapacity, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/model/log.ts';
import { Placement } from '../../../src/placement/placement.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { aCapacity, aCsiNode, aNode } from './builders.ts';

const storageProvisioner = 'volume.kubernetes.io/storage-provisioner';
const selectedNode = 'volume.kubernetes.io/selected-node';

/** A cluster in memory with a placement in it; time goes on when a test says so. */
export class World {
  readonly api = new FakeKubeApi();
  readonly clock = new ManualClock();
  readonly counted: string[] = [];
  readonly gauges = new Map<string, number>();
  readonly #endings: { readonly stop: AbortController; readonly ended: Promise<void> }[] = [];

  constructor() {
    this.api.put('StorageClass', aStorageClass({ volumeBindingMode: 'Immediate' }));
    this.api.put('StorageClass', aStorageClass({ metadata: { name: 'wait', uid: 'class-2' } }));
  }

  /** Nodes with the driver, each with that much left for class `fast`. */
  addNodes(sizes: Readonly<Record<string, string>>): void {
    for (const [name, size] of Object.entries(sizes)) {
      this.api.put('Node', aNode(name));
      this.api.put('CSINode', aCsiNode(name));
      this.publish(name, size);
    }
  }

  publish(nodeName: string, size: string, className = 'fast'): void {
    const object: CsiStorageCapacity = aCapacity(nodeName, className, size);
    const key = `loam/${object.metadata.name}`;
    if (this.api.peek('CSIStorageCapacity', key) === undefined) this.api.put('CSIStorageCapacity', object);
    else {
      this.api.edit('CSIStorageCapacity', key, (found) => {
        found.capacity = size;
        found.maximumVolumeSize = size;
      });
    }
  }

  async start(settings: { readonly scoped?: boolean } = {}): Promise<Placement> {
    const stop = new AbortController();
    const placement = new Placement({
      api: this.api,
      settings: {
        driverName: 'loam.dev',
        namespace: 'loam',
        unreachableAfterMs: 300_000,
        identity: 'c-1',
        ...settings,
      },
      clock: this.clock,
      log: silentLog,
      metrics: {
        count: (name, labels) => void this.counted.push(`${name} ${Object.values(labels).join(' ')}`.trim()),
        gauge: (name, _, value) => void this.gauges.set(name, value),
        observeSeconds: () => {},
      },
    });
    this.#endings.push({ stop, ended: placement.run(stop.signal) });
    await this.pass(0);
    return placement;
  }

  async end(): Promise<void> {
    const endings = this.#endings.splice(0);
    for (const { stop } of endings) stop.abort(new Error('the test is over'));
    await this.pass(5_000);
    await Promise.all(endings.map(({ ended }) => ended));
  }

  async pass(byMs: number): Promise<void> {
    await this.clock.advance(byMs);
    for (let turn = 0; turn < 10; turn += 1) await this.clock.advance(0);
  }

  /** A user makes a claim of class `fast` for 5Gi, without a node. @param called kube-controller-manager has asked for it */
  claim(
    name = 'data',
    spec: Partial<PersistentVolumeClaim['spec']> = {},
    node?: string,
    called = false,
  ): PersistentVolumeClaim {
    return this.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: {
          name,
          uid: `uid-${name}`,
          annotations: {
            ...(node === undefined ? {} : { [selectedNode]: node }),
            ...(called ? { [storageProvisioner]: 'loam.dev' } : {}),
          },
        },
        spec: { resources: { requests: { storage: '5Gi' } }, ...spec },
      }),
    );
  }

  nodeOf(name = 'data'): string | undefined {
    return this.api.peek('PersistentVolumeClaim', `shop/${name}`)?.metadata.annotations?.[selectedNode];
  }

  /** As a node that cannot, or a scheduler. */
  select(name: string, node: string | undefined): void {
    this.api.edit('PersistentVolumeClaim', `shop/${name}`, (found) => {
      const { [selectedNode]: _, ...rest } = found.metadata.annotations ?? {};
      found.metadata.annotations = node === undefined ? rest : { ...rest, [selectedNode]: node };
    });
  }

  /** As kube-controller-manager calls a provisioner. */
  call(name = 'data'): void {
    this.api.edit('PersistentVolumeClaim', `shop/${name}`, ({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, [storageProvisioner]: 'loam.dev' };
    });
  }

  events(): string[] {
    return this.api.all('Event').map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
  }
}
