/** What the node's process tells the commands over its socket, as JSON has it: bytes are decimal text, times RFC 3339. */

/** A volume on this node's disks. */
export interface VolumeRow {
  readonly volumeId: string;
  readonly pool: string;
  readonly backend: string;
  readonly accessType: string;
  readonly sizeBytes: string;
  /** `namespace/name` that its PV names, else that its record names; '' where neither does */
  readonly claim: string;
  /** '' where none stands for it, or nobody can say */
  readonly persistentVolume: string;
  /** the PV's phase; '' without a PV */
  readonly phase: string;
  readonly state: 'ready' | 'recycling' | 'begun' | 'orphan' | 'unknown';
  /** where it is staged or published now */
  readonly usedBy: readonly string[];
  /** why it is in that state; '' for a volume as it should be */
  readonly remark: string;
}

export interface VolumeReport {
  readonly node: string;
  readonly volumes: readonly VolumeRow[];
  /** pools whose volumes are not seen, and what else is not known */
  readonly warnings: readonly string[];
}

const findingKinds = [
  /** begun for a claim and never got a PV; the sweep settles it */
  'intent',
  /** in the trash; its bytes are on their way out, or wait for a disk that is away */
  'trash',
  /** its PV is gone and its data was never let go */
  'orphan',
  /** made in another cluster */
  'foreign',
  /** put away by `onDelete: archive` */
  'archived',
  /** its record cannot be read */
  'broken',
  /** half-way through being emptied, with no PV to have that finished for */
  'recycling',
  /** a disk that was given up while it was away; a note keeps it from being offered */
  'forgotten',
  /** a loop device, mount or note of a volume that no record knows; or what lies in the trash and Loam has not put there */
  'stray',
  /** whose it is cannot be told now */
  'unknown',
] as const;

/** One thing that is not simply a volume with its PV. */
export interface Finding {
  readonly kind: (typeof findingKinds)[number];
  /** of the volume or snapshot; else the name of what lies there */
  readonly id: string;
  readonly pool: string;
  /** '' where it is not known */
  readonly sizeBytes: string;
  /** `namespace/name` */
  readonly claim: string;
  readonly reason: string;
  /** what happens by itself, or what a person can do */
  readonly action: string;
  /** whether it ends without anybody being asked */
  readonly byItself: boolean;
}

export interface GcPlan {
  readonly node: string;
  readonly findings: readonly Finding[];
  readonly warnings: readonly string[];
}

export interface Removal {
  readonly volumeId: string;
  /** `removing`: it is in the trash, and its bytes are on their way out */
  readonly outcome: 'removed' | 'removing' | 'archived';
  readonly message: string;
}

/** What became of a volume whose disk is away for good. */
export interface Forgetting {
  readonly volumeId: string;
  readonly message: string;
}

/** Exactly one of path and volumeId. */
export interface AdoptionRequest {
  /** below one of the node's pools, or a disk mounted there */
  readonly path?: string;
  readonly volumeId?: string;
  /** whose it will be; unset: any claim's that fits */
  readonly claim?: { readonly namespace: string; readonly name: string };
  readonly className?: string;
  /** what the PV of a folder promises, a whole number of bytes; unset: 1 GiB */
  readonly sizeBytes?: string;
  readonly policy: 'Retain' | 'Delete';
  /** create the PV, and not only answer what it would be */
  readonly apply: boolean;
}

export interface Adoption {
  readonly volumeId: string;
  /** the PersistentVolume, as it was created or is to be */
  readonly manifest: object;
  readonly isCreated: boolean;
  readonly message: string;
}

/** Every failure, with a sentence for people. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** What the routes lead to. Failures are CsiErrors; anything else is our own fault. */
export interface OperatorPorts {
  volumes(signal: AbortSignal): Promise<VolumeReport>;
  plan(signal: AbortSignal): Promise<GcPlan>;
  /** Destroys one volume without a PV, as its record says. */
  remove(volumeId: string, signal: AbortSignal): Promise<Removal>;
  removeArchived(archiveId: string, signal: AbortSignal): Promise<Removal>;
  /** Gives up one volume whose disk is away, and touches no disk. */
  forget(volumeId: string, signal: AbortSignal): Promise<Forgetting>;
  adopt(request: AdoptionRequest, signal: AbortSignal): Promise<Adoption>;
}

/** Of a change whose answer is lost: told by the client where none came, and by the process where it was stopped in the middle. */
export const mayBeDone =
  'what was asked may be done all the same, so look before you repeat it: loam volumes, loam gc';
