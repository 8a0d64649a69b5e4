/** ext4 with 4 KiB blocks ends a file just below 16 TiB; the one bound that holds on every pool. */
export const largestImageBytes = (16n << 40n) - 4096n;
