import { isAlreadyExists, isConflict } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { Waiting } from './await-binding.ts';
import {
  decideUndelete,
  successorName,
  targetOf,
  type ClaimName,
  type UndeleteDecision,
} from './decide-undelete.ts';

export interface UndeleteRequest {
  readonly volumeName: string;
  /** what is not said is as it was; a name alone stays in its namespace */
  readonly to?: Partial<ClaimName>;
  readonly driverName: string;
  /** create the claim, too */
  readonly apply: boolean;
  /** tell the first step and take none */
  readonly isRehearsal: boolean;
}

export interface UndeleteResult {
  readonly kind: 'refused' | 'claim-missing' | 'done';
  readonly reason: string;
  /** what still has to be created */
  readonly manifest?: PersistentVolumeClaim;
  /** what the cluster's binder has yet to join */
  readonly waiting?: Waiting;
}

/** Every step changes what the next look sees; more rounds than steps means that somebody works against us. */
const mostRounds = 12;

/**
 * Gives a released volume back to a claim. Each step is one write with the version that it was decided by; killed anywhere, the same
 * command goes on.
 *
 * @param tell one line for each thing done
 * @throws ApiError, ApiUnreachable
 */
export async function undelete(
  api: KubeApi,
  request: UndeleteRequest,
  tell: (line: string) => void,
  signal: AbortSignal,
): Promise<UndeleteResult> {
  let { volumeName } = request;
  for (let round = 0; round < mostRounds; round += 1) {
    const found = await look(api, volumeName, request, signal);
    if ('refusal' in found) return { kind: 'refused', reason: found.refusal };
    const { volume, decision } = found;
    if (decision.kind === 'refuse') return { kind: 'refused', reason: decision.reason };
    if (decision.kind === 'done') {
      const waiting = { claim: found.target, volumeName: volume.metadata.name };
      return { kind: 'done', reason: decision.reason, ...(decision.isBound ? {} : { waiting }) };
    }
    const isEnd = decision.kind === 'claim' && !request.apply;
    if (request.isRehearsal || isEnd) return pausedAt(decision);
    volumeName = await take(api, volume, decision, tell, signal);
  }
  return {
    kind: 'refused',
    reason: `PersistentVolume ${volumeName} was changed by others ${mostRounds} times in a row; repeat`,
  };
}

/** @returns the name of the PV to go on with */
async function take(
  api: KubeApi,
  volume: PersistentVolume,
  decision: Exclude<UndeleteDecision, { kind: 'refuse' | 'done' }>,
  tell: (line: string) => void,
  signal: AbortSignal,
): Promise<string> {
  const { name } = volume.metadata;
  const patch = async (body: object): Promise<boolean> => {
    try {
      await api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal);
      return true;
    } catch (error) {
      // it is not any more what was decided on: look again
      if (isConflict(error)) return false;
      throw error;
    }
  };
  switch (decision.kind) {
    case 'give-back':
      if (await patch(decision.patch)) tell(decision.reason);
      return name;
    case 'succeed':
      if (await created(api.create('PersistentVolume', decision.successor, signal))) tell(decision.reason);
      return name;
    case 'let-go':
      if (!(await patch(decision.patch))) return name;
      tell(decision.reason);
      return decision.successor;
    case 'follow':
      return decision.successor;
    case 'claim': {
      const { namespace = '', name: claimName } = decision.manifest.metadata;
      if (await created(api.create('PersistentVolumeClaim', decision.manifest, signal)))
        tell(`created claim ${namespace}/${claimName}`);
      return name;
    }
  }
}

/** False: there is one already, which the next look compares. */
async function created(creation: Promise<unknown>): Promise<boolean> {
  try {
    await creation;
    return true;
  } catch (error) {
    if (isAlreadyExists(error)) return false;
    throw error;
  }
}

function pausedAt(decision: Exclude<UndeleteDecision, { kind: 'refuse' | 'done' }>): UndeleteResult {
  return decision.kind === 'claim'
    ? { kind: 'claim-missing', reason: decision.reason, manifest: decision.manifest }
    : { kind: 'done', reason: decision.reason };
}

async function look(
  api: KubeApi,
  volumeName: string,
  { to, driverName }: UndeleteRequest,
  signal: AbortSignal,
): Promise<
  { volume: PersistentVolume; target: ClaimName; decision: UndeleteDecision } | { refusal: string }
> {
  const volume =
    (await lookUp(api, 'PersistentVolume', { name: volumeName }, signal)) ??
    // the one that was going has gone, after its successor was made
    (await lookUp(api, 'PersistentVolume', { name: successorName(volumeName) }, signal));
  if (volume === undefined) {
    const refusal = `there is no PersistentVolume ${volumeName}; if its data is still on a node, loam gc --dry-run there lists it, and loam adopt gives it a new one`;
    return { refusal };
  }
  const target = targetOf(volume, to);
  if (target === undefined) {
    const refusal = `PersistentVolume ${volumeName} names no claim that it could go back to; say which with --to namespace/name`;
    return { refusal };
  }
  const handle = volume.spec.csi?.volumeHandle;
  const keep = ({ spec: { csi } }: PersistentVolume): boolean =>
    csi?.driver === driverName && csi.volumeHandle === handle;
  const [{ items: others }, claim] = await Promise.all([
    handle === undefined ? { items: [] } : api.list('PersistentVolume', { keep }, signal),
    lookUp(api, 'PersistentVolumeClaim', target, signal),
  ]);
  return { volume, target, decision: decideUndelete({ volume, others, target, claim, driverName }) };
}
