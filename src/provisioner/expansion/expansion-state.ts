import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { isReason } from '../../model/errors.ts';
import { parseQuantity } from '../../model/quantity.ts';

/** `status.allocatedResourceStatuses` of a claim's storage: who is working on its growth, and how that went. */
const resizeStatuses = [
  'ControllerResizeInProgress',
  'ControllerResizeInfeasible',
  'NodeResizePending',
  'NodeResizeInProgress',
  'NodeResizeInfeasible',
] as const;
export type ResizeStatus = (typeof resizeStatuses)[number];

/** The conditions that belong to growth, kubelet's included: each new attempt begins without any. */
export const resizeConditions: ReadonlySet<string> = new Set([
  'Resizing',
  'FileSystemResizePending',
  'ControllerResizeError',
  'NodeResizeError',
]);

/** A size as somebody wrote it, so that it goes on as it was written. */
export interface Size {
  readonly text: string;
  readonly bytes: bigint;
}

/** What a claim and its PV say of sizes. */
export interface ExpansionState {
  readonly requested: Size;
  /** what the claim is said to have; where nobody has said it yet, what its PV has */
  readonly has: Size;
  readonly volume: Size;
  /** the size that is being worked on, or was */
  readonly allocated: Size | undefined;
  readonly status: ResizeStatus | undefined;
}

/** @returns undefined where a size is missing or no size at all */
export function expansionStateOf(
  claim: PersistentVolumeClaim,
  volume: PersistentVolume,
): ExpansionState | undefined {
  const storage = (from: Readonly<Record<string, string>> | undefined): Size | undefined =>
    sizeOf(from?.['storage']);
  const requested = storage(claim.spec.resources?.requests);
  const volumeSize = storage(volume.spec.capacity);
  if (requested === undefined || volumeSize === undefined) return undefined;
  const { capacity, allocatedResources, allocatedResourceStatuses } = claim.status ?? {};
  const said = allocatedResourceStatuses?.['storage'];
  return {
    requested,
    has: storage(capacity) ?? volumeSize,
    volume: volumeSize,
    allocated: storage(allocatedResources),
    status: resizeStatuses.find((status) => status === said),
  };
}

function sizeOf(text: string | undefined): Size | undefined {
  if (text === undefined) return undefined;
  try {
    return { text, bytes: parseQuantity(text) };
  } catch (error) {
    if (isReason(error, 'invalid-argument', 'size-out-of-range')) return undefined;
    throw error;
  }
}
