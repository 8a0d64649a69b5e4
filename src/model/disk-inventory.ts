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
}

/** Something in a pool that cannot be served, since its record cannot be read. It is kept. */
export interface BrokenEntry {
  readonly id: string;
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

/** What lies on this node's disks and in its mount table besides sound volumes; read only, for people. */
export interface DiskInventory {
  doomed(): readonly DoomedEntry[];
  broken(): readonly BrokenEntry[];
  /** By volume id: where each is staged or published now. */
  uses(): Promise<ReadonlyMap<string, readonly string[]>>;
  strays(): Promise<readonly Stray[]>;
}
