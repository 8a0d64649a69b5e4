import { isMultiNode } from '../model/access-mode.ts';
import { fsTypes } from '../model/class-parameters.ts';
import { StorageError } from '../model/errors.ts';
import type { FsType, VolumeCapability } from '../model/volume.ts';

/** What a list of capabilities comes to: they all mean one shape, or the request is refused. */
export interface CapabilityShape {
  readonly accessType: 'mount' | 'block';
  /** unset: the driver's choice */
  readonly fsType?: FsType;
}

/**
 * Reads a request's capabilities. An empty list means a mount of any kind (GetCapacity asks so).
 *
 * @throws StorageError 'unsupported-capability', with what would be supported
 */
export function shapeOf(
  capabilities: readonly VolumeCapability[],
  sharing: 'none' | 'node',
): CapabilityShape {
  let accessType: 'mount' | 'block' | undefined;
  let fsType: FsType | undefined;
  for (const capability of capabilities) {
    checkAccessMode(capability, sharing);
    const { access } = capability;
    if (accessType !== undefined && accessType !== access.kind) {
      throw unsupported('mount and block are asked for at once; a volume is one or the other');
    }
    accessType = access.kind;
    const asked = access.kind === 'mount' ? readFsType(access.fsType) : undefined;
    if (asked !== undefined && fsType !== undefined && asked !== fsType) {
      throw unsupported(`file systems ${fsType} and ${asked} are asked for at once; name one`);
    }
    fsType ??= asked;
  }
  return { accessType: accessType ?? 'mount', ...(fsType === undefined ? {} : { fsType }) };
}

/** A wire text as one of our file systems; '' is no wish. */
function readFsType(text: string): FsType | undefined {
  if (text === '') return undefined;
  const found = fsTypes.find((known) => known === text);
  if (found === undefined) {
    throw unsupported(`file system ${JSON.stringify(text)} is not known; it can be ${fsTypes.join(', ')}`);
  }
  return found;
}

function checkAccessMode(capability: VolumeCapability, sharing: 'none' | 'node'): void {
  const mode = capability.accessMode;
  if (!isMultiNode(mode)) return;
  if (mode === 'MULTI_NODE_SINGLE_WRITER') {
    throw unsupported(
      `access mode ${mode} needs several nodes; a local volume has one, ask for ReadWriteOnce`,
    );
  }
  if (sharing !== 'node') {
    throw unsupported(
      `access mode ${mode} needs several nodes and a local volume has one; ask for ReadWriteOnce, ` +
        'or let the class say sharing: node, which keeps all its pods on the node of the volume',
    );
  }
}

function unsupported(message: string): StorageError {
  return new StorageError('unsupported-capability', message);
}
