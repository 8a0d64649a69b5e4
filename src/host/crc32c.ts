/** The checksum of ext4's metadata (Castagnoli's polynomial, bits reversed), continued from `seed` and not inverted at the end. */
export function crc32c(seed: number, bytes: Uint8Array): number {
  let sum = seed >>> 0;
  for (const byte of bytes) sum = (table[(sum ^ byte) & 0xff] ?? 0) ^ (sum >>> 8);
  return sum >>> 0;
}

const table = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0x82f63b78;
  return value;
});
