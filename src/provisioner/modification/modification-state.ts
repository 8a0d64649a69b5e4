import type { PersistentVolumeClaim } from '../../kube/objects.ts';

/** `status.modifyVolumeStatus.status` of a claim. */
export type ModifyStatus = 'Pending' | 'InProgress' | 'Infeasible';

export const modifying = 'ModifyingVolume';
const modifyError = 'ModifyVolumeError';
/** The conditions that belong to a change of attributes. */
export const modifyConditions: ReadonlySet<string> = new Set([modifying, modifyError]);
export { modifyError };

/** What a claim says of its VolumeAttributesClass; '' stands for none. */
export interface ModificationState {
  readonly wanted: string;
  readonly current: string;
  readonly target: string;
  /** unset: nothing is being changed */
  readonly status: ModifyStatus | undefined;
}

export function modificationStateOf({ spec, status }: PersistentVolumeClaim): ModificationState {
  const said = status?.modifyVolumeStatus;
  return {
    wanted: spec.volumeAttributesClassName ?? '',
    current: status?.currentVolumeAttributesClassName ?? '',
    target: said?.targetVolumeAttributesClassName ?? '',
    status: said === undefined ? undefined : statusOf(said.status),
  };
}

/** A word that we do not know stands for something that somebody began. */
function statusOf(text: string): ModifyStatus {
  return text === 'Pending' || text === 'Infeasible' ? text : 'InProgress';
}
