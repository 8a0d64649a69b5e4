import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mountAt, readMounts } from '../../src/host/mountinfo.ts';
import { diskOf, isOurs } from '../../src/volumes/published/recognise-mount.ts';
import { DiskLab, MiB } from '../support/disk-lab.ts';
import {
  adopt,
  containing,
  cutShort,
  DiscoveredDisk,
  entriesOf,
  makeDisk,
  remove,
  startDiscovering,
  volumesIn,
} from '../support/discovering.ts';
import { dyingAt } from '../support/dying.ts';
import { failureOf } from '../support/failure-of.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor, mountCapability } from '../support/volume-lab.ts';

const away = { reason: 'pool-unavailable', message: containing('mount it there again') };

const why = whyNoScratchPool('ext4') || whyNoScratchPool('xfs');
describe.skipIf(why !== '')(`disks that are mounted in a discovery folder${why}`, () => {
  it.each(['ext4', 'xfs'] as const)('of %s are volumes of their own size, served to pods', async (fsType) => {
    await using found = await DiscoveredDisk.make({ fsType, text: 'precious' });
    const { lab, process, path } = found;
    expect(await entriesOf(process)).toMatchObject([{ path }]);
    expect((await entriesOf(process))[0]).not.toHaveProperty('obstacle');
    const adopted = await adopt(process, path);
    expect(adopted).toMatchObject({
      backend: 'disk',
      limit: 'enforced',
      adoptedFrom: 'discovery/sdb',
      accessType: 'mount',
    });
    expect(adopted.volumeId).toMatch(/^sdb-/);
    const blocks = execFileSync('stat', ['-f', '-c', '%b %S', path], { encoding: 'utf8' })
      .split(' ')
      .map(Number);
    expect(adopted.sizeBytes).toBe(BigInt((blocks[0] ?? 0) * (blocks[1] ?? 0)));
    expect(process.pools.open()[0]?.promisedBytes()).toBe(0n);
    expect(await entriesOf(process)).toEqual([]);
    expect(await adopt(process, path)).toMatchObject({ volumeId: adopted.volumeId });

    const { volumeId } = adopted;
    await lab.stage(process, volumeId);
    await lab.publish(process, volumeId);
    const target = lab.targetOf(volumeId);
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('precious');
    writeFileSync(join(target, 'file'), 'changed');
    const stats = await process.node.stats({ volumeId, volumePath: target });
    expect(stats).toMatchObject({
      condition: { abnormal: false },
      usage: [{ unit: 'BYTES', total: adopted.sizeBytes }, { unit: 'INODES' }],
    });
    expect(await failureOf(remove(process, volumeId))).toMatchObject({ reason: 'in-use' });
    await lab.unpublish(process, volumeId);
    await lab.unstage(process, volumeId);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('changed');
    await process.stop();
    expect((await startDiscovering(lab)).service.held()).toMatchObject([
      { volumeId, sizeBytes: adopted.sizeBytes },
    ]);
  });

  it('are never served, emptied or forgotten while they are away or another is in their place, and serve again', async () => {
    await using found = await DiscoveredDisk.make({ text: 'precious' });
    const { lab, process, disk, path } = found;
    using other = makeDisk(lab, 'b');
    const { volumeId } = await adopt(process, path);
    await lab.stage(process, volumeId);
    await lab.publish(process, volumeId);

    await lab.unpublish(process, volumeId);
    disk.unmount();
    expect(await failureOf(lab.publish(process, volumeId))).toMatchObject(away);
    await lab.unstage(process, volumeId);
    for (const inPlace of ['nothing', 'another', 'tmpfs', 'a link']) {
      if (inPlace === 'another') other.mount(path);
      if (inPlace === 'tmpfs') execFileSync('mount', ['-t', 'tmpfs', 'none', path]);
      if (inPlace === 'a link') {
        execFileSync('rmdir', [path]);
        other.mount(lab.at('discovery', '.elsewhere'));
        symlinkSync('.elsewhere', path);
      }
      expect(await failureOf(lab.stage(process, volumeId)), inPlace).toMatchObject(away);
      expect(await failureOf(lab.publish(process, volumeId)), inPlace).toMatchObject({
        code: expect.anything() as unknown,
      });
      expect(await failureOf(remove(process, volumeId)), inPlace).toMatchObject(away);
      expect(await failureOf(process.service.recycle({ volumeId }, callFor())), inPlace).toMatchObject(away);
      expect((await process.service.getVolume(volumeId)).condition, inPlace).toMatchObject({
        abnormal: true,
      });
      if (inPlace !== 'a link')
        expect(await entriesOf(process), inPlace).toMatchObject([{ path, obstacle: containing('') }]);
      expect(existsSync(lab.targetOf(volumeId)), inPlace).toBe(false);
      expect(volumesIn(lab), inPlace).toEqual([volumeId]);
      if (inPlace === 'another') other.unmount();
      if (inPlace === 'tmpfs') execFileSync('umount', [path]);
      if (inPlace === 'a link') {
        execFileSync('rm', [path]);
        other.unmount();
        execFileSync('rmdir', [lab.at('discovery', '.elsewhere')]);
      }
    }
    disk.mount(path);
    expect((await process.service.getVolume(volumeId)).condition).toMatchObject({ abnormal: false });
    await lab.stage(process, volumeId);
    await lab.publish(process, volumeId);
    expect(readFileSync(join(lab.targetOf(volumeId), 'file'), 'utf8')).toBe('precious');
    await lab.unpublish(process, volumeId);
    await lab.unstage(process, volumeId);
  });

  it.each(['reserved', 'intent', 'data', 'commit'] as const)(
    'whose adoption is killed after %s are one volume after a repeat',
    async (when) => {
      const { reached, died } = dyingAt(when);
      await using found = await DiscoveredDisk.make({ text: 'precious', reached });
      const { lab, process: first, path } = found;
      await cutShort(adopt(first, path), died);
      const next = await startDiscovering(lab);
      const { volumeId } = await adopt(next, path);
      expect(next.service.held()).toMatchObject([{ volumeId }]);
      expect(volumesIn(lab)).toEqual([volumeId]);
      expect(existsSync(lab.at('.adopting'))).toBe(false);
      expect(readFileSync(join(path, 'file'), 'utf8')).toBe('precious');
    },
  );

  it('are taken once where they are mounted twice, and not at all where they are in use elsewhere', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const process = await startDiscovering(lab);
    const [one, two] = [lab.at('discovery', 'sda'), lab.at('discovery', 'sdb')];
    const elsewhere = join(lab.disk.basePath, 'elsewhere');
    disk.mount(one);
    mkdirSync(elsewhere);
    mkdirSync(two);
    execFileSync('mount', ['--bind', one, elsewhere]);
    expect(await failureOf(adopt(process, one))).toMatchObject({
      reason: 'in-use',
      message: containing(elsewhere),
    });
    execFileSync('umount', [elsewhere]);
    execFileSync('mount', ['--bind', one, two]);
    try {
      expect(await entriesOf(process)).toMatchObject([
        { path: one },
        { path: two, obstacle: containing(one) },
      ]);
      const { volumeId } = await adopt(process, one);
      expect(await entriesOf(process)).toMatchObject([{ path: two, obstacle: containing(volumeId) }]);
      expect(await failureOf(adopt(process, two))).toMatchObject({ message: containing(volumeId) });
      expect(await failureOf(remove(process, volumeId))).toMatchObject({
        reason: 'in-use',
        message: containing(two),
      });
    } finally {
      execFileSync('umount', [two]);
    }
    expect(volumesIn(lab)).toHaveLength(1);
  });

  it('are known by their mounts alone, where it is forgotten what was published', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    using other = makeDisk(lab, 'b');
    const process = await startDiscovering(lab);
    disk.mount(lab.at('discovery', 'sdb'));
    other.mount(lab.at('discovery', 'sdc'));
    const { volumeId } = await adopt(process, lab.at('discovery', 'sdb'));
    await lab.stage(process, volumeId);
    await lab.publish(process, volumeId);
    const mounts = await readMounts();
    const isVolume = async (path: string): Promise<boolean> => {
      const mount = mountAt(mounts, path);
      if (mount === undefined) throw new Error(`nothing is mounted at ${path}`);
      // by the name of a loop device it could be anybody's image
      const source = join(lab.disk.basePath, `device-${mount.id}`);
      symlinkSync(mount.source, source);
      return isOurs({ ...mount, source }, volumeId, diskOf(process.pools, volumeId));
    };
    expect(await isVolume(lab.targetOf(volumeId))).toBe(true);
    expect(await isVolume(lab.at('discovery', 'sdc'))).toBe(false);
    // kubelet never unstages what is mounted, whole, at another place too
    expect(mountAt(mounts, lab.stagingOf(volumeId))).toBeUndefined();
    await lab.unpublish(process, volumeId);
    await lab.unstage(process, volumeId);
  });

  it('of which only a folder is mounted, and what is no disk of ext4 or xfs, are obstacles', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    using readonly = makeDisk(lab, 'b');
    using btrfs = makeDisk(lab, 'c', 'btrfs');
    const process = await startDiscovering(lab);
    const elsewhere = join(lab.disk.basePath, 'elsewhere');
    disk.mount(elsewhere);
    mkdirSync(join(elsewhere, 'part'));
    const at = (name: string): string => lab.at('discovery', name);
    for (const name of ['part', 'memory', 'own', 'pool']) mkdirSync(at(name), { recursive: true });
    execFileSync('mount', ['--bind', join(elsewhere, 'part'), at('part')]);
    execFileSync('mount', ['-t', 'tmpfs', 'none', at('memory')]);
    execFileSync('mount', ['--bind', lab.at('volumes'), at('own')]);
    readonly.mount(at('readonly'), 'ro');
    btrfs.mount(at('btrfs'));
    try {
      expect(await entriesOf(process)).toMatchObject([
        { path: at('btrfs'), obstacle: containing('no ext4 or xfs') },
        { path: at('memory'), obstacle: containing('a tmpfs is no ext4 or xfs') },
        { path: at('own'), obstacle: containing("the pool's own file system") },
        { path: at('part'), obstacle: containing('only the folder /part') },
        { path: at('pool') },
        { path: at('readonly'), obstacle: containing('read-only') },
      ]);
      for (const name of ['btrfs', 'memory', 'own', 'part', 'readonly'])
        expect(await failureOf(adopt(process, at(name))), name).toMatchObject({ reason: 'invalid-argument' });
      expect(volumesIn(lab)).toEqual([]);
    } finally {
      for (const name of ['part', 'memory', 'own']) execFileSync('umount', [at(name)]);
    }
  });

  it('cannot be archived, copied, snapshot, or asked for by a class, and grow by their file system only', async () => {
    await using found = await DiscoveredDisk.make({ fsType: 'xfs' });
    const { process, disk, path } = found;
    const { service } = process;
    const capabilities = await service.getControllerCapabilities();
    expect(await failureOf(adopt(process, path, { onDelete: 'archive' }))).toMatchObject({
      reason: 'invalid-parameter',
      message: containing('archive'),
    });
    const { volumeId, sizeBytes: totalBytes } = await adopt(process, path);
    expect(await service.getControllerCapabilities()).toEqual(capabilities);
    const modify = (mutableParameters: Readonly<Record<string, string>>) =>
      failureOf(service.modifyVolume({ volumeId, mutableParameters }, callFor()));
    expect(await modify({ onDelete: 'archive' })).toMatchObject({ reason: 'invalid-parameter' });
    expect(await modify({ limit: 'advisory' })).toMatchObject({ reason: 'invalid-parameter' });
    await service.modifyVolume({ volumeId, mutableParameters: { onDelete: 'scrub' } }, callFor());
    const snapshot = { name: 'snapshot-1', sourceVolumeId: volumeId, parameters: {} };
    expect(await failureOf(service.createSnapshot(snapshot, callFor()))).toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    const create = {
      name: 'pvc-b',
      capacityRange: { requiredBytes: totalBytes, limitBytes: 0n },
      capabilities: [mountCapability],
      parameters: {},
    };
    const contentSource = { kind: 'volume', volumeId } as const;
    expect(await failureOf(service.createVolume({ ...create, contentSource }, callFor()))).toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    const byClass = { ...create, parameters: { backend: 'disk' } };
    expect(await failureOf(service.createVolume(byClass, callFor()))).toMatchObject({
      reason: 'invalid-parameter',
      message: containing('discovery folder'),
    });
    const grow = (requiredBytes: bigint) =>
      service.expandVolume({ volumeId, capacityRange: { requiredBytes, limitBytes: 0n } }, callFor());
    expect(await grow(totalBytes)).toMatchObject({ capacityBytes: totalBytes });
    expect(await failureOf(grow(totalBytes + MiB))).toMatchObject({
      code: 'OUT_OF_RANGE',
      message: containing('grow the disk'),
    });
    execFileSync('truncate', ['-s', '400M', disk.imagePath]);
    const device = execFileSync('findmnt', ['-n', '-o', 'SOURCE', path], { encoding: 'utf8' }).trim();
    execFileSync('losetup', ['--set-capacity', device]);
    execFileSync('xfs_growfs', [path], { stdio: 'ignore' });
    expect(await grow(totalBytes + MiB)).toMatchObject({ capacityBytes: totalBytes + MiB });
    expect(process.pools.open()[0]?.promisedBytes()).toBe(0n);
  });
});
