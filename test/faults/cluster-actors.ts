import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PersistentVolume, PersistentVolumeClaim, TypedReference } from '../../src/kube/objects.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { PodMount } from '../support/pod-mount.ts';
import { compareRegions, writeRegions } from './block-device.ts';
import { patienceMs } from './campaign.ts';
import { insistently, inTime, once, soon } from './patience.ts';
import type { FaultWorld } from './fault-world.ts';
import { parametersOf } from './fault-world.ts';
import {
  type ClassKind,
  compareFiles,
  type KeptSnapshot,
  type KeptVolume,
  Stuck,
  volumeModeOf,
  writeSynced,
} from './kept-volume.ts';

const namespace = 'default';
const selectedNode = 'volume.kubernetes.io/selected-node';
const snapshotGroup = 'snapshot.storage.k8s.io';

const endOf: Readonly<Record<ClassKind, Readonly<Record<string, string>>>> = {
  delete: {},
  scrub: { onDelete: 'scrub' },
  archive: { onDelete: 'archive' },
  recycle: { onRelease: 'recycle' },
  retain: {},
  'retain-for': { retainFor: '24h' },
};

/**
 * The people and programs around the driver: who makes and deletes claims, kubelet, external-snapshotter's controller. All of them ask
 * again until they are answered, as the real ones do, and remember what they were answered.
 */
export class ClusterActors {
  readonly volumes = new Set<KeptVolume>();
  readonly snapshots = new Set<KeptSnapshot>();
  /** Released, with all that is on them */
  readonly retained = new Set<KeptVolume>();
  /** emptied, and Available to the next claim of their class */
  readonly recycled = new Set<KeptVolume>();
  /** without a PV, with all that is on them */
  readonly orphans = new Set<KeptVolume>();
  /** put away, with all that was on them */
  readonly archived = new Set<KeptVolume>();
  readonly #world: FaultWorld;
  readonly #classes = new Map<ClassKind, Promise<string>>();
  #count = 0;

  constructor(world: FaultWorld) {
    this.#world = world;
  }

  /** A claim that is Bound, and whose volume was looked into: it holds what its source held, and nothing else. */
  async create(
    kind: ClassKind,
    source?: KeptVolume | KeptSnapshot,
    isBlock: boolean = source?.isBlock ?? false,
  ): Promise<KeptVolume> {
    const { user } = this.#world;
    const sizeMiB = source?.sizeMiB ?? 16;
    const claim = await user.createClaim({
      className: await this.classOf(kind),
      node: 'node-a',
      size: `${sizeMiB}Mi`,
      spec: {
        volumeMode: volumeModeOf({ isBlock }),
        ...(source === undefined ? {} : { dataSource: sourceOf(source) }),
      },
    });
    const volume = await this.#untilBound(claim);
    const kept: KeptVolume = { kind, claim, volume, files: new Map(source?.files), sizeMiB, isBlock };
    this.volumes.add(kept);
    return kept;
  }

  /** A claim that is deleted as soon as it has a volume, or as the node has died over it: nothing of it may stay. */
  async changeMind(kind: 'delete' | 'scrub'): Promise<void> {
    const { user, node } = this.#world;
    const deaths = node.deaths;
    const claim = await user.createClaim({ className: await this.classOf(kind), node: 'node-a' });
    const made = async (): Promise<boolean> =>
      node.deaths > deaths || (await user.findVolume(claim)) !== undefined;
    await eventually('a volume', made, 3000).catch(() => {});
    await inTime(user.deleteClaimAndVolume(claim, patienceMs));
  }

  /** A pod starts that uses it, and finds what it has to find. */
  async open(kept: KeptVolume): Promise<void> {
    const { kubelet, kubeletPath } = this.#world;
    this.#count += 1;
    const pod = new PodMount(kubelet, kept.volume, kubeletPath, `pod-${this.#count}`);
    kept.pod = pod;
    await insistently(`volume ${kept.volume.metadata.name} to be published`, () => pod.start());
    await this.look(kept);
  }

  /** Compares what the pod sees with what was acknowledged. */
  async look(kept: KeptVolume): Promise<void> {
    if (kept.pod === undefined) return;
    const what = `volume ${kept.volume.metadata.name}`;
    const { targetPath } = kept.pod.paths;
    await (kept.isBlock === true
      ? compareRegions(what, targetPath, kept.sizeMiB, kept.files)
      : compareFiles(what, targetPath, kept.files));
  }

  async write(kept: KeptVolume, bytes: Buffer = randomBytes(64 << 10)): Promise<void> {
    if (kept.pod === undefined) return;
    this.#count += 1;
    const { targetPath } = kept.pod.paths;
    const name = `file-${this.#count}`;
    const written =
      kept.isBlock === true
        ? await writeRegions(targetPath, kept.sizeMiB, this.#count, bytes)
        : new Map([[name, await writeSynced(targetPath, name, bytes)]]);
    kept.files = new Map([...kept.files, ...written]);
  }

  async close(kept: KeptVolume): Promise<void> {
    const { pod } = kept;
    if (pod === undefined) return;
    await insistently(`volume ${kept.volume.metadata.name} to be unpublished`, () => pod.stop());
    delete kept.pod;
  }

  /** What kubelet has to do for it is done with a new pod, since some kernels do not let ext4 grow under one. */
  async grow(kept: KeptVolume, sizeMiB: number): Promise<void> {
    const { user } = this.#world;
    const storage = `${sizeMiB}Mi`;
    await user.edit('PersistentVolumeClaim', kept.claim, { spec: { resources: { requests: { storage } } } });
    const isPending = await inTime(
      eventually(
        `claim ${kept.claim.metadata.name} to have ${storage}`,
        async () => {
          const now = await user.find('PersistentVolumeClaim', kept.claim);
          if (now?.status?.capacity?.['storage'] === storage) return { of: false };
          if (now?.status?.allocatedResourceStatuses?.['storage'] === 'NodeResizePending')
            return { of: true };
          throw new NotYet(JSON.stringify(now?.status));
        },
        patienceMs,
      ),
    );
    if (isPending.of) {
      await this.close(kept);
      await this.open(kept);
      await this.#expandOnNode(kept, BigInt(sizeMiB) << 20n);
      const status = { capacity: { storage }, allocatedResourceStatuses: null, conditions: [] };
      await user.edit('PersistentVolumeClaim', kept.claim, { status }, 'status');
    }
    kept.sizeMiB = sizeMiB;
    await this.look(kept);
  }

  /** The claim is deleted, and what its class says of the volume's end has come true. */
  async remove(kept: KeptVolume): Promise<void> {
    const { user } = this.#world;
    await this.close(kept);
    await this.removeClaim(kept);
    switch (kept.kind) {
      case 'recycle':
        this.recycled.add(kept);
        return this.#untilPhase(kept, 'Available');
      case 'retain':
      case 'retain-for':
        this.retained.add(kept);
        return this.#untilPhase(kept, 'Released');
      case 'archive':
        this.archived.add(kept);
        break;
      case 'delete':
      case 'scrub':
        break;
    }
    await inTime(user.untilGone('PersistentVolume', kept.volume, patienceMs));
  }

  /** Nothing but the claim; what becomes of the volume is not waited for. */
  async removeClaim(kept: KeptVolume): Promise<PersistentVolume> {
    const { user } = this.#world;
    this.volumes.delete(kept);
    await user.delete('PersistentVolumeClaim', kept.claim);
    await inTime(user.untilGone('PersistentVolumeClaim', kept.claim, patienceMs));
    return kept.volume;
  }

  /** A released volume goes back to a claim of the name that it had, with all that is on it. */
  async undelete(kept: KeptVolume): Promise<KeptVolume> {
    const { user } = this.#world;
    const { name } = kept.claim.metadata;
    const claimRef = { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name };
    const nothing = { uid: null, resourceVersion: null, fieldPath: null };
    await user.edit('PersistentVolume', kept.volume, {
      metadata: { annotations: { 'loam.dev/retained-until': null } },
      spec: { claimRef: { ...claimRef, ...nothing } },
    });
    this.retained.delete(kept);
    return this.claimAgain(kept, name);
  }

  /** The next claim takes a volume that was emptied. */
  async reuse(kept: KeptVolume): Promise<KeptVolume> {
    this.#count += 1;
    this.recycled.delete(kept);
    return this.claimAgain({ ...kept, files: new Map() }, `next-${this.#count}`);
  }

  /** Whatever the class said: nothing of it is kept. */
  async finish(kept: KeptVolume): Promise<void> {
    const { user, operator } = this.#world;
    if (this.archived.delete(kept)) {
      const archiveId = kept.volume.spec.csi?.volumeHandle ?? '';
      return insistently(
        `archived volume ${archiveId} to go`,
        once(() => operator.removeArchived(archiveId)),
      );
    }
    if (this.orphans.delete(kept)) {
      const orphanId = kept.volume.spec.csi?.volumeHandle ?? '';
      return insistently(
        `orphan ${orphanId} to go`,
        once(() => operator.remove(orphanId)),
      );
    }
    const present = this.recycled.has(kept) ? await this.reuse(kept) : kept;
    this.retained.delete(present);
    if (this.volumes.has(present)) await this.close(present);
    this.volumes.delete(present);
    await user.edit('PersistentVolume', present.volume, {
      metadata: { annotations: { 'loam.dev/retained-until': null, 'loam.dev/retain-for': null } },
      spec: { persistentVolumeReclaimPolicy: 'Delete' },
    });
    const claim = await user.find('PersistentVolumeClaim', present.claim);
    if (claim !== undefined) await user.delete('PersistentVolumeClaim', claim);
    await inTime(user.untilGone('PersistentVolumeClaim', present.claim, patienceMs));
    if (present.kind === 'archive') {
      this.archived.add(present);
      await inTime(user.untilGone('PersistentVolume', present.volume, patienceMs));
      return this.finish(present);
    }
    await inTime(user.untilGone('PersistentVolume', present.volume, patienceMs));
  }

  /** The claim of that name, which asks for this very PV. */
  async claimAgain(kept: KeptVolume, name: string): Promise<KeptVolume> {
    const { user } = this.#world;
    const claim = await user.createClaim({
      name,
      className: kept.volume.spec.storageClassName ?? '',
      size: `${kept.sizeMiB}Mi`,
      spec: { volumeName: kept.volume.metadata.name, volumeMode: volumeModeOf(kept) },
    });
    const volume = await this.#untilBound(claim);
    const { pod: _, ...rest } = kept;
    const again: KeptVolume = { ...rest, claim, volume };
    this.volumes.add(again);
    return again;
  }

  /** Meanwhile the scheduler chooses the node again where the claim was given back, as for a pool that was full for a moment. */
  async #untilBound(claim: PersistentVolumeClaim): Promise<PersistentVolume> {
    const { user } = this.#world;
    const waiting = new AbortController();
    const scheduler = (async () => {
      while (!waiting.signal.aborted) {
        await sleep(200);
        const now = await user.find('PersistentVolumeClaim', claim);
        const isFree = now !== undefined && (now.spec.volumeName ?? '') === '';
        if (isFree && now.metadata.annotations?.[selectedNode] === undefined)
          await user.selectNode(claim, 'node-a');
      }
    })();
    try {
      return await inTime(user.untilBound(claim, patienceMs));
    } catch (error) {
      const events = (await user.eventsOf(claim)).map(({ reason, message }) => `${reason} ${message}`);
      throw new Stuck(`${String(error)}; the last it heard: ${events.at(-1)}`, { cause: error });
    } finally {
      waiting.abort();
      await scheduler;
    }
  }

  async #untilPhase({ volume }: KeptVolume, phase: string): Promise<void> {
    const { name } = volume.metadata;
    await inTime(
      eventually(
        `PV ${name} to be ${phase}`,
        async () => {
          const now = await this.#world.user.find('PersistentVolume', volume);
          if (now?.status?.phase === phase) return true;
          throw new NotYet(JSON.stringify([now?.status, now?.metadata.annotations]));
        },
        patienceMs,
      ),
    );
  }

  async #expandOnNode({ volume, pod }: KeptVolume, requiredBytes: bigint): Promise<void> {
    const request = {
      volumeId: volume.spec.csi?.volumeHandle ?? '',
      volumePath: pod?.paths.targetPath ?? '',
      requiredBytes,
    };
    await insistently(`volume ${volume.metadata.name} to grow on its node`, () =>
      this.#world.kubelet.expand(request, { signal: soon(), deadlineMs: Date.now() + 20_000 }),
    );
  }

  /** The class that volumes of this kind are of. */
  classOf(kind: ClassKind): Promise<string> {
    const { user, backend } = this.#world;
    const made =
      this.#classes.get(kind) ??
      user.createClass({
        parameters: {
          ...parametersOf[backend],
          ...endOf[kind],
          // whatever is overwritten there is written elsewhere
          ...(kind === 'scrub' && backend === 'btrfs' ? { scrub: 'discard' } : {}),
        },
        reclaimPolicy: kind === 'recycle' || kind === 'retain' ? 'Retain' : 'Delete',
        allowVolumeExpansion: true,
      });
    this.#classes.set(kind, made);
    return made;
  }
}

function sourceOf(source: KeptVolume | KeptSnapshot): TypedReference {
  return 'snapshot' in source
    ? { apiGroup: snapshotGroup, kind: 'VolumeSnapshot', name: source.snapshot.metadata.name }
    : { kind: 'PersistentVolumeClaim', name: source.claim.metadata.name };
}
