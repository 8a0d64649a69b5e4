/** A deleted volume or snapshot whose bytes are still on their way out. */
export interface DoomedEntry {
  readonly id: string;
  readonly poolName: string;
  readonly method: 'delete' | 'scrub';
  readonly sinceMs: number;
  /** 0n where its record could not be read */
  readonly sizeBytes: bigint;
  /** why the last attempt failed; unset while none has */
  readonly failure?: string;
  /** set where the next attempts fail as well until a person has done something */
  readonly stuck?: Stuck;
}

/** What a deleted volume waits for, and nobody but a person brings. */
export type Stuck =
  /** the mounted disk that is to be emptied: it is not there or cannot be opened; or it failed on the way */
  | { readonly on: 'unusable disk' | 'failing disk'; readonly mountPoint: string }
  /** a record that can be read: without it nobody knows which disk is to be emptied */
  | { readonly on: 'record' };

/** Something in a pool that cannot be served, since its record cannot be read. It is kept. */
export interface BrokenEntry {
  /** of the volume or snapshot; of a note its folder's name */
  readonly id: string;
  /** it is the note of a disk that was given up: any disk may be the one */
  readonly isNote?: boolean;
  readonly poolName: string;
  /** names the path and what is wrong with it */
  readonly why: string;
}

/** A loop device, a mount or a note of one that belongs to a volume which no record knows. */
export interface Stray {
  readonly kind: 'loop device' | 'mount' | 'publication';
  /** `/dev/loopN`, or where it is mounted */
  readonly path: string;
  readonly volumeId: string;
  /** the pool below which it lies; unset for a publication, which names it by uuid only */
  readonly poolName?: string;
  /** what is there and what to do about it */
  readonly why: string;
}

/** What lies in a pool's trash under a name that Loam gives to nothing, or a trash that cannot be read. It is kept. Many are told as one. */
export interface Litter {
  readonly name: string;
  /** it is the trash itself, and what is in it waits */
  readonly isTrash?: boolean;
  readonly poolName: string;
  /** names the path and what is wrong with it */
  readonly why: string;
}

/** What a pool keeps of a disk that was given up while it was away, so that it is offered to nobody if it turns up. */
export interface ForgottenEntry {
  readonly volumeId: string;
  readonly poolName: string;
  readonly sizeBytes: bigint;
  /** the claim that its data was of */
  readonly claim?: { readonly namespace: string; readonly name: string };
  /** of its file system */
  readonly type: string;
  readonly uuid: string;
  /** where it was mounted */
  readonly mountPoint: string;
  /** of the note */
  readonly path: string;
  /** unset where somebody has given the note another name */
  readonly sinceMs?: number;
}

/** What lies on this node's disks and in its mount table besides sound volumes; read only, for people. */
export interface DiskInventory {
  doomed(): readonly DoomedEntry[];
  broken(): readonly BrokenEntry[];
  /** Never rejects: a trash that cannot be read is one of them. */
  litter(): Promise<readonly Litter[]>;
  forgotten(): readonly ForgottenEntry[];
  /** By volume id: where each is staged or published now. */
  uses(): Promise<ReadonlyMap<string, readonly string[]>>;
  strays(): Promise<readonly Stray[]>;
}
