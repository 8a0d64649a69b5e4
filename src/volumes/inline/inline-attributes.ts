import { knownParameters } from '../../model/class-parameters.ts';
import { StorageError } from '../../model/errors.ts';
import { formatQuantity, parseQuantity } from '../../model/quantity.ts';

/** What a pod says about its own inline volume. */
export interface InlineWish {
  readonly sizeBytes: bigint;
  /** as a class would say it */
  readonly parameters: Readonly<Record<string, string>>;
}

/** What a pod may say besides the size: it concerns the root of its own volume. Everything else costs others, or is about them. */
const ownAttributes: readonly string[] = ['mode', 'uid', 'gid'];
const sizeAttribute = 'size';
const kubernetesPrefix = 'csi.storage.k8s.io/';
const fsTypeKey = `${kubernetesPrefix}fstype`;

/**
 * Reads `csi.volumeAttributes`. The author of a pod is no administrator: an image, sized, thin and removed without an
 * overwrite is all that there is. Keys that kubelet adds are passed over.
 *
 * @param maxBytes the largest that an administrator allows, 0 = none at all; unset for a volume that is there already
 * @throws StorageError 'invalid-parameter', naming the attribute
 */
export function readInlineAttributes(
  volumeContext: Readonly<Record<string, string>>,
  maxBytes: bigint | undefined,
): InlineWish {
  if (maxBytes === 0n) {
    throw invalid(
      'inline volumes are switched off on this node; use a generic ephemeral volume (ephemeral.volumeClaimTemplate), ' +
        'which needs no switch, or have an administrator set --inline-max-size',
    );
  }
  const parameters: Record<string, string> = { backend: 'loopback' };
  for (const [key, text] of Object.entries(volumeContext)) {
    if (ownAttributes.includes(key)) parameters[key] = text;
    else if (key !== sizeAttribute) refuseAttribute(key);
  }
  const sizeBytes = sizeOf(volumeContext[sizeAttribute]);
  if (maxBytes !== undefined && sizeBytes > maxBytes) {
    throw invalid(
      `an inline volume may have ${formatQuantity(maxBytes)} here, size asks for ${formatQuantity(sizeBytes)}; ask for less, ` +
        'or use a generic ephemeral volume (ephemeral.volumeClaimTemplate), which counts against quotas; ' +
        'an administrator can raise --inline-max-size',
    );
  }
  return { sizeBytes, parameters };
}

function refuseAttribute(key: string): void {
  if (key === fsTypeKey) throw invalid(`attribute ${key} is not read; name the file system in csi.fsType`);
  if (key.startsWith(kubernetesPrefix)) return;
  const known = [sizeAttribute, ...ownAttributes].join(', ');
  if (!knownParameters.includes(key)) {
    throw invalid(`unknown attribute ${JSON.stringify(key)} of an inline volume; known are ${known}`);
  }
  throw invalid(
    `attribute ${key} is an administrator's choice and not a pod's; use a generic ephemeral volume ` +
      `(ephemeral.volumeClaimTemplate) with a StorageClass that says ${key}. An inline volume takes ${known}`,
  );
}

function sizeOf(text: string | undefined): bigint {
  if (text === undefined || text === '') {
    throw invalid(
      'attribute size is missing; an inline volume has to say how much it takes, such as size: 1Gi',
    );
  }
  let bytes: bigint;
  try {
    bytes = parseQuantity(text);
  } catch (error) {
    throw invalid(`attribute size: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (bytes > 0n) return bytes;
  throw invalid(`attribute size is ${text}; it is more than 0`);
}

function invalid(message: string, cause?: unknown): StorageError {
  return new StorageError('invalid-parameter', message, cause === undefined ? {} : { cause });
}
