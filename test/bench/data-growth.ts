import { readFileSync } from 'node:fs';
import { timed } from './data-copies.ts';
import { DataLab, shownBytes } from './data-lab.ts';
import { spreadOf, spreadText } from './figures.ts';
import type { Report } from './report.ts';

const GiB = 1n << 30n;
const target = 'p50 ≤ 200 ms';

/** How long a claim's growth from 1 to 2 GiB takes until the mounted file system shows it, or has it at its next mount. */
export async function measureGrowth(rounds: number, report: Report): Promise<void> {
  const lab = await DataLab.start('plain', 0);
  try {
    for (const fsType of ['ext4', 'xfs', 'btrfs'] as const) {
      const parameters = { backend: 'loopback', 'csi.storage.k8s.io/fstype': fsType };
      const isOnline = fsType !== 'ext4' || hasSysResource();
      const times: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const volume = await lab.create(parameters, { sizeBytes: GiB });
        if (!isOnline) await lab.unstage(volume);
        await timed(times, async () => {
          const isSeen = await lab.grow(volume, 2n * GiB);
          if (!isSeen) throw new Error(`${fsType} was not grown while mounted`);
          if (!isOnline) await lab.stage(volume);
        });
        if (shownBytes(volume.path) < 1.8 * 2 ** 30)
          throw new Error(`${fsType} shows ${shownBytes(volume.path)} bytes`);
        await lab.delete(volume);
      }
      const spread = spreadOf(times);
      const measured = isOnline
        ? `1 GiB to 2 GiB, mounted ${fsType}`
        : `1 GiB to 2 GiB, unmounted ${fsType} and its next mount (no CAP_SYS_RESOURCE here, which growing it mounted needs)`;
      report(
        `growth.${fsType}`,
        { measured, value: spreadText(spread), ...(fsType === 'ext4' ? { target } : {}) },
        spread,
      );
    }
  } finally {
    await lab.stop();
  }
}

/** Bit 24 of the effective capabilities. */
function hasSysResource(): boolean {
  const [, effective = '0'] =
    /^CapEff:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n;
}
