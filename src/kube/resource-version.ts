const decimal = /^(0|[1-9][0-9]*)$/;

/**
 * Whether `candidate` is at least as new as `known`. Versions are decimal numbers that may exceed 2^53, so they are compared as text;
 * one that is not a number counts as newer, since dropping news is worse than seeing it twice.
 */
export function isAtLeast(candidate: string | undefined, known: string | undefined): boolean {
  if (candidate === undefined || known === undefined) return true;
  if (!decimal.test(candidate) || !decimal.test(known)) return true;
  return candidate.length === known.length ? candidate >= known : candidate.length > known.length;
}
