import type { BackendName, Consistency, FsType, VolumeSpec } from '../model/volume.ts';
import type { Pace } from '../host/pace.ts';
import type { ScrubMethod } from '../model/class-parameters.ts';
import type { CallContext, VolumeCondition } from '../model/csi-driver.ts';
import type { Log } from '../model/log.ts';
import type { UsageEntry } from '../model/node-driver.ts';

/**
 * Where a volume's own directory is. It is opened once and everything happens below the descriptor
 * (`/proc/self/fd/<fd>/data`), so that a rename of a parent or a planted link cannot lead elsewhere.
 */
export interface VolumePlace {
  /** for messages, mount sources and losetup: the real path, made by us from the pool's root and a checked id */
  readonly path: string;
}

export interface BackendFeatures {
  /** empty: no file system of its own (a directory has the pool's) */
  readonly fsTypes: readonly FsType[];
  readonly block: boolean;
  readonly thick: boolean;
  /** nothing is mounted at the staging path; a pod's target gets the volume from where it is */
  readonly stagesNothing?: true;
}

/** What probing found in one pool: the truth about limits, by trying. */
export type BackendProbe = (
  | {
      readonly usable: true;
      readonly enforcesLimit: boolean;
      /**
       * Whom the limit holds: whoever writes there, or only who does not set out to get around it. A plain user can make a nested
       * subvolume, or change a file's project id, and is not counted there. Unset: everybody.
       */
      readonly holdsAgainst?: 'everybody' | 'trusted';
      readonly detail: string;
    }
  | { readonly usable: false; readonly detail: string }
) & {
  /** what was not found to work failed in a way that may pass, so that it is tried again. Unset: that is the answer */
  readonly isProvisional?: boolean;
};

/** How a volume is meant to appear at a path. */
export interface MountIntent {
  readonly path: string;
  readonly readonly: boolean;
  readonly mountFlags: readonly string[];
}

/** A volume or snapshot whose data is to be copied; a snapshot's directory looks like a volume's. */
export interface CopySource {
  readonly place: VolumePlace;
  readonly spec: VolumeSpec;
  /** staged or attached somewhere, so that somebody may write meanwhile; never so of a snapshot */
  readonly isLive: boolean;
}

export interface CopyWish {
  /** a copy that mixes several moments will do where nothing better can be had */
  readonly allowsLoose: boolean;
  /** nothing may be put into the target before this resolves, as its intent is written meanwhile; unset: at once */
  readonly mayBegin?: Promise<unknown>;
  /** told now and then, where the copying takes long */
  readonly onProgress?: (copiedBytes: bigint) => void;
}

export interface Copied {
  /** of what the copy holds: of one moment, or of several */
  readonly consistency: Consistency;
}

export interface Grown {
  /** what is mounted has yet to grow, at `growMounted` or at the next `stage`, which sees to it always */
  readonly isMountBehind: boolean;
}

/** How data that lies elsewhere than in its volume's directory is to be destroyed. */
export interface DestroyWish {
  /** unset: it is removed and not overwritten */
  readonly scrub?: ScrubMethod;
  readonly pace: Pace;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * How volumes of one kind are made, attached and measured. `volumes/` owns names, records, locks, accounting and the trash;
 * a backend only knows the bytes of one volume. Every verb can be repeated after a crash at any line of itself.
 */
export interface Backend {
  readonly name: BackendName;
  readonly features: BackendFeatures;

  /** Tries in a scratch directory of the pool whether this backend works there and whether its limit holds. Leaves nothing. */
  probe(scratch: VolumePlace, signal: AbortSignal): Promise<BackendProbe>;

  /** Bytes of the pool that such a volume takes up front, before anything is written to it. */
  initialBytes(spec: VolumeSpec): bigint;

  /**
   * Makes the data below `place`, which exists and is empty or holds a half-made attempt. Durable once `place` itself is synced,
   * which the commit of the record does.
   * @throws StorageError 'out-of-space' | 'host-failure'; then `place` may hold leftovers, which the caller removes
   */
  create(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<void>;

  /** Makes the volume ready for publishes: mounts or attaches it at the staging path. */
  stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent, call: CallContext): Promise<void>;
  /** Undoes `stage`, as far as it was done. Also called for what was never staged. */
  unstage(place: VolumePlace, spec: VolumeSpec, stagingPath: string, call: CallContext): Promise<void>;

  /** Lets the staged volume appear at the target path (bind mount, or the device). Creates the last component of the target. */
  publish(
    place: VolumePlace,
    spec: VolumeSpec,
    stagingPath: string,
    target: MountIntent,
    call: CallContext,
  ): Promise<void>;

  /**
   * Everything that still holds the volume on this node: mounts of its directory or file system, loop devices, by a text for
   * people each. Empty: it can be destroyed.
   */
  users(place: VolumePlace, spec: VolumeSpec): Promise<readonly string[]>;

  /** Lets go of what outlives an unstage by a crash: a loop device without a mount. Never touches a mount. */
  release(place: VolumePlace, spec: VolumeSpec, signal: AbortSignal): Promise<void>;

  /**
   * Of a volume whose data lies elsewhere than in its directory: makes sure that it is there, before it is destroyed.
   * @throws StorageError 'pool-unavailable' where it is not
   */
  requireData?(place: VolumePlace, spec: VolumeSpec): Promise<void>;
  /**
   * Of the same: destroys all of it, for good once this resolves. `place` may lie in the trash already. A repeat goes on.
   * @throws StorageError as `requireData`; 'cannot-erase' | 'in-use' | 'host-failure'; the signal's reason
   */
  destroyElsewhere?(place: VolumePlace, spec: VolumeSpec, wish: DestroyWish): Promise<void>;

  /** Size and use, quickly: never walks a tree. */
  usage(place: VolumePlace, spec: VolumeSpec, volumePath: string): Promise<readonly UsageEntry[]>;

  condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition>;

  /**
   * Gives the volume the size that `spec` has from now on, which is never less than it had: the image, its devices, the limit. What
   * is mounted grows with it where the kernel lets it. The caller has reserved the space and writes the record after.
   *
   * @throws StorageError 'out-of-space'; then the size is what it was
   */
  grow?(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<Grown>;
  /** Has the file system mounted at a stage's or publish's path take its whole volume. @throws StorageError 'cannot-grow-now' */
  growMounted?(place: VolumePlace, spec: VolumeSpec, volumePath: string, call: CallContext): Promise<void>;

  /** Whether a copy within this pool shares its source's blocks, and takes no time that grows with the data. */
  sharesBlocks?(source: CopySource): Promise<boolean>;
  /**
   * Copies the source's data, as of one moment, into the empty directory of a snapshot. Durable once `target` itself is synced. Either
   * whole under its name or not there; leftovers are the caller's to remove, by `discard` where the backend has it.
   * @throws StorageError 'not-consistent' | 'out-of-space' | 'host-failure'
   */
  capture?(source: CopySource, target: VolumePlace, wish: CopyWish, call: CallContext): Promise<Copied>;
  /**
   * As `create`, with the source's data: a file system is grown to `spec.sizeBytes`, which is never less than the source's, and gets a
   * uuid of its own. What is written to the one is never seen in the other.
   * @throws StorageError as `create` and `capture`
   */
  createFrom?(
    source: CopySource,
    place: VolumePlace,
    spec: VolumeSpec,
    wish: CopyWish,
    call: CallContext,
  ): Promise<Copied>;
  /**
   * The size that the volume has by its data: more than its record says where a growth was cut short, since the data goes first.
   * Quick; undefined: nothing is there.
   */
  sizeOf?(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined>;
  /** Bytes of the pool that a volume or snapshot has written, shared blocks counted in full. Quick; undefined: not known. */
  writtenBytes?(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined>;
  /** Of these, the bytes that no snapshot or clone shares. Quick; undefined: not known. */
  ownBytes?(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined>;

  /** Makes thin thick, or holds a limit that was advisory: from `from` to `to`. Idempotent. @throws StorageError 'out-of-space' | 'limit-not-enforced' */
  reshape?(place: VolumePlace, from: VolumeSpec, to: VolumeSpec, call: CallContext): Promise<void>;
  /** Prepares data in the trash, or half-made, for removal file by file: takes apart what that cannot (subvolumes). */
  discard?(place: VolumePlace, signal: AbortSignal): Promise<void>;
}

/** Names below a volume's directory. */
export const dataName = 'data';
export const imageName = 'image';
/** An empty file: the data is what is mounted in the pool's discovery folder. Without it there is none to destroy. */
export const diskMarkName = 'disk';
/** Folder of a pool that people put into it, or mount in it, what is to become a volume by itself. */
export const discoveryName = 'discovery';
