import { ApiError } from './api-error.ts';

/** The fields of a `Status` object that say what went wrong. */
interface StatusBody {
  readonly reason?: unknown;
  readonly message?: unknown;
  readonly details?: { readonly retryAfterSeconds?: unknown };
}

/** What an answer that is no success means. Something between us and the server may have written it, so nothing is taken for granted. */
export function errorOfAnswer(
  status: number,
  retryAfter: string | string[] | undefined,
  text: string,
): ApiError {
  const body = parsed(text);
  const reason = typeof body.reason === 'string' && body.reason !== '' ? body.reason : 'Unknown';
  const message =
    typeof body.message === 'string' && body.message !== ''
      ? body.message
      : `the API server answered ${status}${text === '' ? '' : `: ${text.slice(0, 200).trim()}`}`;
  return new ApiError(status, reason, message, retryAfterMs(retryAfter, body.details?.retryAfterSeconds));
}

function parsed(text: string): StatusBody {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** Seconds only: kube-apiserver never sends the date form. */
function retryAfterMs(header: string | string[] | undefined, seconds: unknown): number | undefined {
  const value = typeof header === 'string' ? Number.parseInt(header, 10) : seconds;
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value * 1000 : undefined;
}
