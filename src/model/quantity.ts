import { StorageError } from './errors.ts';

const pattern = /^\+?(\d+(?:\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|m|u|n|k|M|G|T|P|E|[eE][+-]?\d{1,3})?$/;
const binary: Record<string, bigint> = {
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
  Ei: 1n << 60n,
};
const decimalExponent: Record<string, number> = {
  n: -9,
  u: -6,
  m: -3,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
export const maxInt64 = (1n << 63n) - 1n;

/**
 * Reads a Kubernetes quantity as whole bytes, rounded up as Kubernetes does for storage.
 *
 * @throws StorageError 'invalid-argument' for anything else than a non-negative quantity of at most int64 bytes
 */
export function parseQuantity(text: string): bigint {
  const match = pattern.exec(text.trim());
  if (match?.[1] === undefined) {
    throw new StorageError(
      'invalid-argument',
      `${JSON.stringify(text)} is not a size; write it as 10Gi or 500M`,
    );
  }
  const [whole = '0', fraction = ''] = match[1].split('.');
  const digits = BigInt(`${whole === '' ? '0' : whole}${fraction}`);
  const suffix = match[2] ?? '';
  const factor = binary[suffix] ?? 1n;
  const exponent = factor === 1n && suffix !== '' ? exponentOf(suffix) : 0;
  const bytes = scale(digits * factor, exponent - fraction.length);
  if (bytes > maxInt64) {
    throw new StorageError(
      'size-out-of-range',
      `${text} is more than the ${maxInt64} bytes that Kubernetes can count`,
    );
  }
  return bytes;
}

function exponentOf(suffix: string): number {
  return decimalExponent[suffix] ?? Number(suffix.slice(1));
}

/** value * 10^exponent, rounded up. */
function scale(value: bigint, exponent: number): bigint {
  if (exponent >= 0) return value * 10n ** BigInt(exponent);
  const divisor = 10n ** BigInt(-exponent);
  return (value + divisor - 1n) / divisor;
}

/** The canonical binary form that Kubernetes prints: the largest suffix that divides the bytes exactly. */
export function formatQuantity(bytes: bigint): string {
  for (const [suffix, factor] of Object.entries(binary).toReversed()) {
    if (bytes !== 0n && bytes % factor === 0n) return `${bytes / factor}${suffix}`;
  }
  return bytes.toString();
}

/** For messages: two digits after the point and the binary unit, `3.25 GiB`. */
export function formatBytes(bytes: bigint): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let unit = 0;
  while (unit < units.length - 1 && bytes >= 1n << BigInt(10 * (unit + 1))) unit += 1;
  if (unit === 0) return `${bytes} bytes`;
  const hundredths = (bytes * 100n) >> BigInt(10 * unit);
  const text = `${hundredths / 100n}.${(hundredths % 100n).toString().padStart(2, '0')}`.replace(
    /\.?0+$/,
    '',
  );
  return `${text} ${units[unit]}`;
}
