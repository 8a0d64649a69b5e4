import type { PersistentVolume } from '../../kube/objects.ts';
import { csiAccessMode, type KubeAccessMode } from '../../model/access-mode.ts';
import type { VolumeCapability } from '../../model/volume.ts';

/**
 * How a PV's volume is used, in the one capability that growth has room for: of several access modes the one that allows most.
 * Undefined where its modes contradict each other; the driver may do without.
 */
export function capabilityOf(
  { spec }: PersistentVolume,
  severalWriters: boolean,
): VolumeCapability | undefined {
  const mode = chooseMode(spec.accessModes ?? []);
  if (mode === undefined) return undefined;
  return {
    accessMode: csiAccessMode(mode, severalWriters),
    access:
      spec.volumeMode === 'Block'
        ? { kind: 'block' }
        : { kind: 'mount', fsType: spec.csi?.fsType ?? '', mountFlags: spec.mountOptions ?? [] },
  };
}

function chooseMode(modes: readonly string[]): KubeAccessMode | undefined {
  const has = (mode: KubeAccessMode): boolean => modes.includes(mode);
  if (has('ReadWriteOncePod')) return modes.length === 1 ? 'ReadWriteOncePod' : undefined;
  if (has('ReadWriteMany')) return 'ReadWriteMany';
  if (has('ReadOnlyMany')) return has('ReadWriteOnce') ? undefined : 'ReadOnlyMany';
  return has('ReadWriteOnce') ? 'ReadWriteOnce' : undefined;
}
