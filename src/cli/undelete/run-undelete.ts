import { stringify } from 'yaml';
import { settings } from '../../config/settings.ts';
import { createKubeApi, loadKubeAccess } from '../../kube/client.ts';
import { noMetrics } from '../../model/metrics.ts';
import { parseClaimName } from '../../operator/read-request.ts';
import { systemClock } from '../../model/system-clock.ts';
import { version } from '../../roles/version.ts';
import { onlyArgument, runCommand, terminal, UsageError, type Terminal } from '../run-command.ts';
import { awaitBinding } from './await-binding.ts';
import type { ClaimName } from './decide-undelete.ts';
import { undelete } from './undelete.ts';

const usage = `loam undelete PV [--to NAMESPACE/CLAIM] [--apply] [--dry-run] [--kubeconfig PATH]

Gives a released PersistentVolume back to a claim, with its data, its size and its mode: the volume is reserved for the
claim of that name and for nobody else, its retention ends, and the claim's manifest is printed for kubectl apply -f -
(or created, with --apply). One that is being deleted gets a new PersistentVolume, PV-undeleted, over the same data first.
It can be repeated: killed anywhere, the same command goes on.

It refuses while the data is being destroyed, where the volume is not Released, and where a claim of that name has
another volume, or another size, mode or class.

  --to NS/CLAIM      the claim that gets it (default: the one that it had; CLAIM alone stays in that one's namespace)
  --apply            create the claim, and wait until it is bound (for half a minute at most)
  --dry-run          say what the next step would be, and change nothing
  --kubeconfig PATH  (default: KUBECONFIG, then the pod's own account)
  --context NAME     of that kubeconfig
  --driver NAME      the CSI driver's name (default: ${settings.driverName.env}, then ${settings.driverName.fallback ?? ''})`;

const options = {
  to: { type: 'string' },
  apply: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  kubeconfig: { type: 'string' },
  context: { type: 'string' },
  driver: { type: 'string' },
} as const;

/** All of it, retries and waits for a busy API server included. */
const timeoutMs = 60_000;

/** `loam undelete` */
export function runUndelete(argv: readonly string[], to: Terminal = terminal): Promise<number> {
  return runCommand({ name: 'undelete', usage, options }, argv, to, async ({ values, positionals }) => {
    const request = {
      volumeName: onlyArgument(positionals, 'PersistentVolume'),
      ...(values.to === undefined ? {} : { to: readTarget(values.to) }),
      driverName: values.driver ?? process.env[settings.driverName.env] ?? settings.driverName.fallback ?? '',
      apply: values.apply ?? false,
      isRehearsal: values['dry-run'] ?? false,
    };
    const access = loadKubeAccess(values.kubeconfig, values.context);
    const api = createKubeApi(access, { metrics: noMetrics, userAgent: `loam/${version} undelete` });
    try {
      const tell = (line: string): void => to.err(line);
      const signal = AbortSignal.timeout(timeoutMs);
      const result = await undelete(api, request, tell, signal);
      to.err(result.kind === 'refused' ? `loam undelete: ${result.reason}` : result.reason);
      if (result.manifest !== undefined) to.out(stringify(result.manifest).trimEnd());
      if (result.waiting === undefined || !request.apply || request.isRehearsal)
        return result.kind === 'refused' ? 1 : 0;
      const { message, isLost = false } = await awaitBinding(api, result.waiting, tell, systemClock, signal);
      to.err(isLost ? `loam undelete: ${message}` : message);
      return isLost ? 1 : 0;
    } finally {
      await api.close();
    }
  });
}

/** `namespace/name`, or a name alone. @throws UsageError */
export function readTarget(text: string): Partial<ClaimName> {
  try {
    if (text.includes('/')) return parseClaimName(text);
    return { name: parseClaimName(`default/${text}`).name };
  } catch {
    throw new UsageError(`--to ${JSON.stringify(text)}: write it as namespace/name, or the name alone`);
  }
}
