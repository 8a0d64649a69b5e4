import { stringify } from 'yaml';
import { parseQuantity } from '../model/quantity.ts';
import { isVolumeId } from '../model/volume-id.ts';
import { parseClaimName } from '../operator/read-request.ts';
import type { AdoptionRequest } from '../operator/report.ts';
import { onlyArgument, terminal, UsageError, type Terminal, type ValuesOf } from './run-command.ts';
import { runNodeCommand } from './run-node-command.ts';

const usage = `loam adopt PATH | VOLUME-ID [--claim NAMESPACE/NAME] [--class NAME] [--size SIZE] [--policy Retain|Delete] [--apply]

Gives a PersistentVolume to a volume that has none (an orphan or an archived one, as loam gc --dry-run lists them), or to
a folder or image file that lies in one of this node's pools: that becomes a volume, by renames, with its bytes, owners
and modes as they are. Prints the manifest, for kubectl apply -f -; with --apply the node creates it.
Run it where loam node runs: kubectl exec in the node's pod.

  --claim NS/NAME  reserve it for this claim, whether it exists yet or not (default: any claim that fits gets it)
  --class NAME     StorageClass of the PersistentVolume (default: the claim's, else the volume's own, else none)
  --size SIZE      of a folder: what its PersistentVolume promises, such as 10Gi (default: 1Gi); nothing holds it to that
  --policy POLICY  Retain (default) or Delete: what becomes of the data once its claim is deleted
  --apply          create the PersistentVolume`;

const options = {
  claim: { type: 'string' },
  class: { type: 'string' },
  size: { type: 'string' },
  policy: { type: 'string' },
  apply: { type: 'boolean' },
} as const;

type Values = ValuesOf<typeof options>;

/** `loam adopt` */
export function adopt(argv: readonly string[], to: Terminal = terminal): Promise<number> {
  return runNodeCommand(
    { name: 'adopt', usage, options },
    argv,
    to,
    async ({ values, positionals }, node) => {
      const request = readAdoptCommand(onlyArgument(positionals, 'path or volume'), values);
      const { manifest, isCreated, message } = await node.adopt(request);
      to.err(message);
      if (!isCreated) to.out(stringify(manifest).trimEnd());
      return 0;
    },
  );
}

/** @throws UsageError; StorageError for a claim's name that is none */
export function readAdoptCommand(what: string, values: Values): AdoptionRequest {
  const { policy = 'Retain', claim, class: className, size, apply = false } = values;
  if (policy !== 'Retain' && policy !== 'Delete')
    throw new UsageError(`--policy ${policy}: it can be Retain or Delete`);
  const isPath = what.startsWith('/');
  if (!isPath && !isVolumeId(what))
    throw new UsageError(`${JSON.stringify(what)} is neither an absolute path nor a volume id`);
  if (size !== undefined && !isPath) throw new UsageError('--size is for a folder; a volume has its size');
  return {
    ...(isPath ? { path: what } : { volumeId: what }),
    ...(claim === undefined ? {} : { claim: parseClaimName(claim) }),
    ...(className === undefined ? {} : { className }),
    ...(size === undefined ? {} : { sizeBytes: String(parseQuantity(size)) }),
    policy,
    apply,
  };
}
