import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { limitOf, restoreLimit } from '../../../src/backends/btrfs/hold-limit.ts';
import { Directory } from '../../../src/host/directory.ts';
import type { VolumeSpec } from '../../../src/model/volume.ts';
import { hideCommand } from '../../support/hidden-command.ts';

const MiB = 1n << 20n;
const membersOf = (...used: readonly bigint[]) =>
  used.map((usedBytes, index) => ({ id: BigInt(index), usedBytes, limitBytes: undefined }));

describe('the limit of a subvolume', () => {
  it('is the size where there are none inside, whatever it has', () => {
    const [one] = membersOf(70n * MiB);
    expect(one && limitOf(one, [one], 64n * MiB)).toBe(64n * MiB);
  });

  it('is what each has and what is left for all, and never less than they have', () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt(0n, 1n << 40n), { minLength: 2, maxLength: 6 }),
        fc.bigInt(1n << 20n, 1n << 42n),
        (used, sizeBytes) => {
          const members = membersOf(...used);
          const sum = used.reduce((left, right) => left + right, 0n);
          const rest = sizeBytes > sum ? sizeBytes - sum : 0n;
          for (const member of members) {
            const limit = limitOf(member, members, sizeBytes);
            expect(limit).toBeGreaterThanOrEqual(4096n);
            if (member.usedBytes >= 4096n) expect(limit).toBe(member.usedBytes + rest);
          }
        },
      ),
    );
  });
});

describe('restoring the limit of a volume that is staged', () => {
  let folder: string;
  let directory: Directory;
  let broken: Disposable;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'loam-limit-'));
    mkdirSync(join(folder, 'qgroups/0_300'), { recursive: true });
    directory = await Directory.open(folder);
    note('enabled', '1');
    note('0_300/referenced', '4096');
    // as where anybody has made a subvolume whose path is too long for btrfs
    broken = hideCommand('btrfs', 'echo "ERROR: failed to lookup path" >&2; exit 1');
  });
  afterEach(async () => {
    broken[Symbol.dispose]();
    await directory.close();
    rmSync(folder, { recursive: true });
  });
  const note = (name: string, text: string) => writeFileSync(join(folder, 'qgroups', name), `${text}\n`);
  const limitTo = (bytes: bigint) => {
    note('0_300/limit_flags', '1');
    note('0_300/max_referenced', bytes.toString());
  };
  const restore = (signal = AbortSignal.timeout(10_000)) => {
    const data = { parent: directory, directory, id: 300n };
    const fileSystem = { sysPath: folder, mountPoint: folder, mountedRoot: '/' };
    const spec = { id: 'pvc-1', limit: 'enforced', sizeBytes: 64n * MiB } as unknown as VolumeSpec;
    return restoreLimit(fileSystem, data, spec, signal);
  };

  it('does not keep the pod from its data where what lies inside cannot be looked at', async () => {
    limitTo(60n * MiB);
    await restore();
    await expect(restore(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });

  it('fails where nothing would hold the size', async () => {
    await expect(restore()).rejects.toThrow('failed to lookup path');
  });
});
