import type { KubeApi } from '../../kube/kube-api.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { ClaimName } from './decide-undelete.ts';

const lookEveryMs = 500;
/** Most are bound sooner, and nobody wants to hear of it. */
const quietMs = 2_000;
/** Twice what kube-controller-manager takes where it heard of the claim before it heard of the PV. */
const patienceMs = 30_000;

export interface Waiting {
  readonly claim: ClaimName;
  readonly volumeName: string;
}

/** What became of it, for people. */
export interface Binding {
  /** unset where it is bound, or will be as far as anybody can tell */
  readonly isLost?: true;
  readonly message: string;
}

/**
 * Waits until a claim is bound to the volume that is reserved for it, and says once what it waits for. Nothing depends on it: whoever
 * stops here has undeleted the volume all the same.
 *
 * @returns what became of it. Never rejects
 */
export async function awaitBinding(
  api: KubeApi,
  { claim, volumeName }: Waiting,
  tell: (line: string) => void,
  clock: Clock,
  signal: AbortSignal,
): Promise<Binding> {
  const { namespace, name } = claim;
  const key = `${namespace}/${name}`;
  const hint = `kubectl -n ${namespace} describe pvc ${name} says more`;
  const beganMs = clock.nowMs();
  let isTold = false;
  try {
    for (;;) {
      const found = await lookUp(api, 'PersistentVolumeClaim', claim, signal);
      if (found === undefined) return { isLost: true, message: `claim ${key} was deleted meanwhile` };
      const bound = found.spec.volumeName ?? '';
      if (bound !== '' && bound !== volumeName) {
        const message = `claim ${key} got another volume meanwhile, ${bound}; repeat with another name in --to, while PersistentVolume ${volumeName} is there`;
        return { isLost: true, message };
      }
      if (found.status?.phase === 'Bound' && bound !== '') return { message: `claim ${key} is bound to it` };
      const waitedMs = clock.nowMs() - beganMs;
      if (waitedMs >= patienceMs) {
        const message = `claim ${key} is not bound after ${patienceMs / 1000} s, and is bound when kube-controller-manager gets to it; ${hint}`;
        return { message };
      }
      if (waitedMs >= quietMs && !isTold) {
        isTold = true;
        tell(
          `waiting for kube-controller-manager to bind claim ${key}, which may take until its next look, 15 s`,
        );
      }
      await clock.sleep(lookEveryMs, signal);
    }
  } catch (error) {
    return { message: `whether claim ${key} is bound could not be told (${messageOf(error)}); ${hint}` };
  }
}
