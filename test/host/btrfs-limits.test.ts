import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { asNobody, BtrfsLab, fill } from '../support/btrfs-lab.ts';
import { MiB } from '../support/disk-lab.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';

const why = whyNoScratchPool('btrfs');
const sizeBytes = 64n * MiB;
const size = Number(sizeBytes);

describe.skipIf(why !== '')(`the limit of a btrfs volume${why}`, () => {
  it('stops a pod within 2 % of the size, and nobody else', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const neighbour = await lab.make(sizeBytes);
    const { bytes, stoppedBy } = fill(join(volume.path, 'file'), 2 * size);
    expect(stoppedBy).toBe('EDQUOT');
    expect(bytes / size).toBeGreaterThan(0.98);
    expect(bytes / size).toBeLessThanOrEqual(1.02);
    expect(fill(join(neighbour.path, 'file'), size / 2)).toEqual({ bytes: size / 2, stoppedBy: undefined });
    // what is full can be emptied
    unlinkSync(join(volume.path, 'file'));
    execFileSync('sync', ['-f', volume.path]);
    expect(fill(join(volume.path, 'other'), size / 2).stoppedBy).toBeUndefined();
  });

  it('tells the size where a growth was cut short before its record, and not where subvolumes inside have a share', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const sizeOf = () => lab.backend.sizeOf(volume.place, volume.spec);
    expect(await sizeOf()).toBeUndefined();
    await lab.backend.grow(volume.place, { ...volume.spec, sizeBytes: 2n * sizeBytes }, lab.call);
    expect(await sizeOf()).toBe(2n * sizeBytes);
    expect(await lab.backend.sizeOf(volume.place, { ...volume.spec, limit: 'advisory' })).toBeUndefined();
    await using other = new BtrfsLab();
    const split = await other.make(sizeBytes);
    other.btrfs('subvolume', 'create', join(split.path, 'inside'));
    await other.backend.grow(split.place, { ...split.spec, sizeBytes: 2n * sizeBytes }, other.call);
    expect(await other.backend.sizeOf(split.place, split.spec)).toBeUndefined();
  });

  it('counts a sparse file by its blocks, hard links once, and what is deleted but open', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const fd = openSync(join(volume.path, 'sparse'), 'w+');
    ftruncateSync(fd, size * 10);
    writeSync(fd, Buffer.alloc(1 << 20, 'x'), 0, 1 << 20, size * 5);
    linkSync(join(volume.path, 'sparse'), join(volume.path, 'link'));
    unlinkSync(join(volume.path, 'sparse'));
    unlinkSync(join(volume.path, 'link'));
    execFileSync('sync', ['-f', volume.path]);
    const { bytes } = fill(join(volume.path, 'file'), 2 * size);
    expect((bytes + (1 << 20)) / size).toBeGreaterThan(0.98);
    expect((bytes + (1 << 20)) / size).toBeLessThanOrEqual(1.02);
    closeSync(fd);
  });

  it('is there before the volume has its name, with the owner that the class asked for', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes, { mode: 0o2750, uid: 65534, gid: 65534 });
    const found = statSync(volume.path);
    expect([found.mode & 0o7777, found.uid, found.gid]).toEqual([0o2750, 65534, 65534]);
    const limits = lab.btrfs('qgroup', 'show', '-f', '-r', '--raw', volume.path);
    expect(limits).toContain(` ${sizeBytes} `);
  });

  it('grows under a pod that has filled it, and is lifted and held again', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    fill(join(volume.path, 'file'), 2 * size);
    const grown = { ...volume.spec, sizeBytes: 2n * sizeBytes };
    expect(await lab.backend.grow(volume.place, grown, lab.call)).toEqual({ isMountBehind: false });
    const { bytes, stoppedBy } = fill(join(volume.path, 'more'), 2 * size);
    expect(stoppedBy).toBe('EDQUOT');
    expect(bytes / size).toBeGreaterThan(0.96);
    const advisory = { ...grown, limit: 'advisory' as const };
    await lab.backend.reshape(volume.place, grown, advisory, lab.call);
    expect(fill(join(volume.path, 'most'), size / 2).stoppedBy).toBeUndefined();
    await lab.backend.reshape(volume.place, advisory, grown, lab.call);
    expect(fill(join(volume.path, 'again'), size).stoppedBy).toBe('EDQUOT');
  });

  it('is promised only where something holds it', async () => {
    await using lab = new BtrfsLab({ quota: false });
    const failed = await refusal(lab.make(sizeBytes));
    expect(failed).toMatchObject({ reason: 'limit-not-enforced' });
    expect(failed.message).toContain(`btrfs quota enable ${lab.disk.path}`);
    expect(lab.subvolumes()).toEqual([]);
    const advisory = await lab.make(sizeBytes, { limit: 'advisory' });
    expect(fill(join(advisory.path, 'file'), 2 * size).stoppedBy).toBeUndefined();
  });

  it('does not hold a subvolume that a pod makes inside until it is found; then all of them together', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const nested = join(volume.path, 'nested');
    expect(asNobody('btrfs subvolume create "$1"', nested).ok).toBe(true);
    writeFileSync(join(volume.path, 'file'), Buffer.alloc(size / 4, 'x'));
    // the truth, which is why this backend is for tenants that are trusted
    const before = asNobody('dd if=/dev/zero of="$1/file" bs=1M count=$2 conv=fsync', nested, '128');
    expect(before.ok).toBe(true);

    expect(await lab.backend.condition(volume.place, volume.spec)).toMatchObject({
      abnormal: true,
      message: expect.stringMatching(/has 1 subvolumes inside.*144.* MiB of 64 MiB/) as string,
    });
    const [usage] = await lab.backend.usage(volume.place, volume.spec, lab.disk.path);
    expect(usage).toMatchObject({ total: sizeBytes, available: 0n });
    expect(Number(usage?.used)).toBeGreaterThan(2 * size);
    const after = asNobody('dd if=/dev/zero of="$1/more" bs=1M count=8 conv=fsync', nested);
    expect(after.output).toContain('Disk quota exceeded');
    expect(fill(join(volume.path, 'more'), size).stoppedBy).toBe('EDQUOT');

    rmSync(join(nested, 'file'));
    execFileSync('sync', ['-f', volume.path]);
    await lab.backend.condition(volume.place, volume.spec);
    const { bytes } = fill(join(volume.path, 'more'), 2 * size);
    expect(bytes / size).toBeGreaterThan(0.7);
    expect(bytes / size).toBeLessThan(0.8);

    unlinkSync(join(volume.path, 'more'));
    execFileSync('sync', ['-f', volume.path]);
    execFileSync('btrfs', ['subvolume', 'delete', nested], { stdio: 'ignore' });
    expect(await lab.backend.condition(volume.place, volume.spec)).toMatchObject({ abnormal: false });
    expect(lab.btrfs('qgroup', 'show', '-f', '-r', '--raw', volume.path)).toContain(` ${sizeBytes} `);
  });

  it('is not taken from another volume by a name that pretends to be a line of a list', async () => {
    await using lab = new BtrfsLab();
    const victim = await lab.make(sizeBytes);
    const victimId = lab.btrfs('inspect-internal', 'rootid', victim.path).trim();
    const volume = await lab.make(sizeBytes);
    const id = lab.btrfs('inspect-internal', 'rootid', volume.path).trim();
    const line = `x\nID ${victimId} gen 1 parent ${id} top level ${id} path y`;
    expect(asNobody('btrfs subvolume create "$1"', join(volume.path, line)).ok).toBe(true);
    const { message } = await lab.backend.condition(volume.place, volume.spec);
    expect(message).toContain('has 1 subvolumes inside');
    expect(lab.btrfs('qgroup', 'show', '-f', '-r', '--raw', victim.path)).toContain(` ${sizeBytes} `);
    writeFileSync(join(victim.path, 'file'), 'kept');
    await lab.backend.discard(volume.place, lab.call.signal);
    expect(readFileSync(join(victim.path, 'file'), 'utf8')).toBe('kept');
    expect(lab.subvolumes()).toEqual(['pvc-1/data']);
  });
});
