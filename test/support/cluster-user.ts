import { isConflict, isNotFound } from '../../src/kube/api-error.ts';
import type { KindName, Kinds } from '../../src/kube/kinds.ts';
import type { KubeApi } from '../../src/kube/kube-api.ts';
import type {
  KubeEvent,
  KubeObject,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../../src/kube/objects.ts';
import { eventually, NotYet } from './eventually.ts';

const selectedNode = 'volume.kubernetes.io/selected-node';
const namespace = 'default';

export interface ClaimWish {
  readonly className: string;
  /** as the scheduler names it; unset: nobody did yet */
  readonly node?: string;
  readonly size?: string;
  readonly name?: string;
  readonly spec?: Partial<PersistentVolumeClaim['spec']>;
}

/** What people, the scheduler and the tests ask of a cluster. Every wait has a deadline and names what it waited for. */
export class ClusterUser {
  readonly api: KubeApi;
  readonly driverName: string;
  #count = 0;

  constructor(api: KubeApi, driverName: string) {
    this.api = api;
    this.driverName = driverName;
  }

  /** A WaitForFirstConsumer class over directories, unless told. @returns its name */
  async createClass(wish: Partial<Omit<StorageClass, 'metadata'>> & { name?: string } = {}): Promise<string> {
    const { name = this.#nextName('class'), ...rest } = wish;
    await this.api.create(
      'StorageClass',
      {
        metadata: { name },
        provisioner: this.driverName,
        parameters: { backend: 'directory', limit: 'advisory' },
        reclaimPolicy: 'Delete',
        volumeBindingMode: 'WaitForFirstConsumer',
        ...rest,
      },
      soon(),
    );
    return name;
  }

  createClaim(wish: ClaimWish): Promise<PersistentVolumeClaim> {
    const { className, node, size = '16Mi', name = this.#nextName('claim'), spec } = wish;
    return this.api.create(
      'PersistentVolumeClaim',
      {
        metadata: {
          name,
          namespace,
          ...(node === undefined ? {} : { annotations: { [selectedNode]: node } }),
        },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: className,
          resources: { requests: { storage: size } },
          ...spec,
        },
      },
      soon(),
    );
  }

  /** As the scheduler does, over whatever stands there. */
  async selectNode(claim: PersistentVolumeClaim, node: string | null): Promise<void> {
    const body = { metadata: { annotations: { [selectedNode]: node } } };
    await this.api.patch('PersistentVolumeClaim', keyOf(claim), { type: 'merge', body }, soon());
  }

  /** The scheduler was asked for another node. */
  async untilUnselected(claim: PersistentVolumeClaim): Promise<void> {
    await eventually(`no node selected for ${claim.metadata.name}`, async () => {
      const now = await this.find('PersistentVolumeClaim', claim);
      if (now !== undefined && now.metadata.annotations?.[selectedNode] === undefined) return true;
      throw new NotYet(`selected: ${now?.metadata.annotations?.[selectedNode]}`);
    });
  }

  async find<K extends KindName>(kind: K, object: KubeObject): Promise<Kinds[K] | undefined> {
    try {
      const found = await this.api.get(kind, keyOf(object), soon());
      return object.metadata.uid === undefined || found.metadata.uid === object.metadata.uid
        ? found
        : undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async delete(kind: KindName, object: KubeObject): Promise<void> {
    await this.api.remove(kind, keyOf(object), soon());
  }

  findVolume(claim: PersistentVolumeClaim): Promise<PersistentVolume | undefined> {
    return this.find('PersistentVolume', { metadata: { name: volumeNameOf(claim) } });
  }

  untilVolume(claim: PersistentVolumeClaim, timeoutMs?: number): Promise<PersistentVolume> {
    return eventually(`the PV of ${claim.metadata.name}`, () => this.findVolume(claim), timeoutMs);
  }

  /** @returns the claim's PV, once both sides say Bound */
  async untilBound(claim: PersistentVolumeClaim, timeoutMs?: number): Promise<PersistentVolume> {
    return eventually(
      `claim ${claim.metadata.name} to be Bound`,
      async () => {
        const now = await this.find('PersistentVolumeClaim', claim);
        const name = now?.spec.volumeName ?? '';
        if (now?.status?.phase !== 'Bound') throw new NotYet(`phase ${now?.status?.phase}, volume "${name}"`);
        const volume = await this.find('PersistentVolume', { metadata: { name } });
        return volume?.status?.phase === 'Bound' && volume;
      },
      timeoutMs,
    );
  }

  async untilGone(kind: KindName, object: KubeObject, timeoutMs?: number): Promise<void> {
    await eventually(
      `${kind} ${object.metadata.name} to be gone`,
      async () => {
        const found = await this.find(kind, object);
        if (found === undefined) return true;
        throw new NotYet(JSON.stringify({ ...found.metadata, status: (found as PersistentVolume).status }));
      },
      timeoutMs,
    );
  }

  async deleteClaimAndVolume(claim: PersistentVolumeClaim, timeoutMs?: number): Promise<void> {
    const volumeName = volumeNameOf(claim);
    await this.delete('PersistentVolumeClaim', claim);
    await this.untilGone('PersistentVolumeClaim', claim, timeoutMs);
    await this.untilGone('PersistentVolume', { metadata: { name: volumeName } }, timeoutMs);
  }

  /** Changes an object as it is, again while others were faster. */
  async edit(kind: KindName, object: KubeObject, body: object, subresource?: 'status'): Promise<void> {
    await eventually(`an edit of ${object.metadata.name}`, async () => {
      try {
        await this.api.patch(kind, keyOf(object), { type: 'merge', body }, soon(), subresource);
        return true;
      } catch (error) {
        if (isConflict(error)) return false;
        throw error;
      }
    });
  }

  /** The driver's own events about an object, oldest first. */
  async eventsOf(object: KubeObject): Promise<readonly KubeEvent[]> {
    const { items } = await this.api.list('Event', { namespace }, soon());
    return items.filter(
      ({ involvedObject, source, reportingComponent }) =>
        involvedObject.uid === object.metadata.uid &&
        [source?.component, reportingComponent].some((name) => name?.includes(this.driverName)),
    );
  }

  /** Waits for an event of this reason whose message holds the text. */
  untilEvent(
    object: KubeObject,
    reason: string,
    text: string | RegExp,
    timeoutMs?: number,
  ): Promise<KubeEvent> {
    return eventually(
      `event ${reason} "${String(text)}" on ${object.metadata.name}`,
      async () => {
        const events = await this.eventsOf(object);
        const found = events.find(
          (event) =>
            event.reason === reason &&
            (typeof text === 'string' ? event.message.includes(text) : text.test(event.message)),
        );
        if (found !== undefined) return found;
        throw new NotYet(`heard: ${events.map((event) => `${event.reason} ${event.message}`).join(' | ')}`);
      },
      timeoutMs,
    );
  }

  /** The driver's PVs that exist. */
  async volumes(): Promise<readonly PersistentVolume[]> {
    const { items } = await this.api.list('PersistentVolume', {}, soon());
    return items.filter((volume) => volume.spec.csi?.driver === this.driverName);
  }

  #nextName(what: string): string {
    this.#count += 1;
    return `${this.driverName.replaceAll('.', '-')}-${what}-${this.#count}`;
  }
}

export function volumeNameOf(claim: PersistentVolumeClaim): string {
  return `pvc-${claim.metadata.uid ?? ''}`;
}

function keyOf({ metadata }: KubeObject): { readonly name: string; readonly namespace?: string } {
  const { name, namespace } = metadata;
  return namespace === undefined ? { name } : { name, namespace };
}

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}
