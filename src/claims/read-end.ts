import type { PersistentVolume } from '../kube/objects.ts';
import { parseDurationMs } from '../model/duration.ts';
import { onRelease, retainedUntil, retainFor } from './annotations.ts';

/** What a PV says of its volume's end. A person may have written it, at any time. */
export type VolumeEnd =
  | { readonly kind: 'keep'; readonly reason: string }
  /** static PVs only: classes cannot say it, and kube-controller-manager cannot do it */
  | { readonly kind: 'native-recycle' }
  /** it says what nobody can read: nothing may be destroyed on a guess */
  | { readonly kind: 'unclear'; readonly isRecycle: boolean; readonly reason: string }
  | {
      readonly kind: 'destroy' | 'recycle';
      /** 0: at once */
      readonly retainForMs: number;
      /** unset: not noted yet */
      readonly retainedUntilMs?: number;
    };

/** RFC 3339 with its time zone; Date.parse alone takes nearly anything for some time. */
const instant = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/;
/** What a Date can hold, and the year still be written with four digits. */
const lastInstantMs = Date.UTC(9999, 11, 31);

/**
 * Reads policy and annotations. The policy is Kubernetes' word and goes first: with Delete, `on-release: recycle` does not count (the
 * data would be destroyed either way), with plain Retain no annotation makes anything be destroyed.
 * A noted `retained-until` counts by itself, whatever `retain-for` says by now, as long as that can be read.
 */
export function readEnd(volume: PersistentVolume): VolumeEnd {
  const policy = volume.spec.persistentVolumeReclaimPolicy ?? 'Retain';
  const noted = volume.metadata.annotations ?? {};
  const release = noted[onRelease] ?? 'keep';
  const isRecycle = policy !== 'Delete';
  const unclear = (reason: string): VolumeEnd => ({ kind: 'unclear', isRecycle, reason });
  if (release !== 'keep' && release !== 'recycle')
    return unclear(nonsense(onRelease, release, 'can be keep or recycle'));
  if (policy === 'Recycle') return { kind: 'native-recycle' };
  if (isRecycle && release !== 'recycle') return { kind: 'keep', reason: `reclaim policy ${policy}` };

  const kind = isRecycle ? 'recycle' : 'destroy';
  const retainForMs = durationOf(noted[retainFor] ?? '0s');
  if (retainForMs === undefined)
    return unclear(nonsense(retainFor, noted[retainFor] ?? '', 'takes a duration such as 24h'));
  const until = noted[retainedUntil];
  if (until === undefined) return { kind, retainForMs };
  const retainedUntilMs = instant.test(until) ? Date.parse(until) : Number.NaN;
  if (Number.isNaN(retainedUntilMs))
    return unclear(nonsense(retainedUntil, until, 'takes a time such as 2026-01-31T12:00:00Z'));
  return { kind, retainForMs, retainedUntilMs };
}

/** When a retention that begins now ends; far beyond anybody's life it ends in the year 9999. */
export function retentionEndMs(nowMs: number, retainForMs: number): number {
  return Math.min(nowMs + retainForMs, lastInstantMs);
}

function durationOf(text: string): number | undefined {
  try {
    return parseDurationMs(text);
  } catch {
    return undefined;
  }
}

function nonsense(annotation: string, text: string, form: string): string {
  return `annotation ${annotation} is ${JSON.stringify(text)}, it ${form}; nothing is destroyed until it is corrected or removed`;
}
