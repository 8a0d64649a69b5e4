import { ApiError, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { Clock } from '../model/clock.ts';
import type { ControllerCapability, CsiDriver } from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { systemNamespace } from '../claims/annotations.ts';

const retryMs = 1_000;
const answerMs = 10_000;

interface Contact {
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The driver's name, which does not change while it runs, and its capabilities now. Waits for a driver that is not up yet.
 *
 * @throws the signal's reason when it aborts first
 */
export async function meetDriver(
  contact: Contact & { readonly driver: CsiDriver },
  signal: AbortSignal,
): Promise<{ readonly name: string; readonly capabilities: ReadonlySet<ControllerCapability> }> {
  return untilItWorks('ask the driver who it is', contact, signal, async () => {
    const cut = new AbortController();
    const cancel = contact.clock.after(answerMs, () => cut.abort(new Error('no answer from the driver')));
    const call = { signal: AbortSignal.any([signal, cut.signal]) };
    try {
      const { name } = await contact.driver.getPluginInfo(call);
      return { name, capabilities: await contact.driver.getControllerCapabilities(call) };
    } finally {
      cancel();
    }
  });
}

/**
 * What tells clusters apart whose nodes share a disk over time. Undefined where it may not be read: then nothing is swept.
 *
 * @throws the signal's reason when it aborts first
 */
export async function readClusterUid(
  contact: Contact & { readonly api: KubeApi },
  signal: AbortSignal,
): Promise<string | undefined> {
  return untilItWorks("read the cluster's identity", contact, signal, async () => {
    try {
      const namespace = await contact.api.get('Namespace', { name: systemNamespace }, signal);
      return namespace.metadata.uid;
    } catch (error) {
      const isRefused = error instanceof ApiError && error.status === 403;
      if (!isRefused && !isNotFound(error)) throw error;
      contact.log.warn(
        { err: messageOf(error) },
        `namespace ${systemNamespace} cannot be read: leftovers of crashes are not swept`,
      );
      return undefined;
    }
  });
}

async function untilItWorks<T>(
  doing: string,
  { clock, log }: Contact,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ err: messageOf(error) }, `could not ${doing}; trying again`);
    }
    await clock.sleep(retryMs, signal);
  }
}
