import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BtrfsBackend } from '../../src/backends/btrfs/backend.ts';
import { BtrfsLab, fill, type LabVolume } from '../support/btrfs-lab.ts';
import { DiskLab, MiB, volume as request } from '../support/disk-lab.ts';
import { failureOf } from '../support/failure-of.ts';
import { hideCommand } from '../support/hidden-command.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool('btrfs');
const sizeBytes = 64n * MiB;
const size = Number(sizeBytes);

describe.skipIf(why !== '')(`the btrfs backend, when things go wrong${why}`, () => {
  it('tells when quota was turned off, and sets the limits again once it is on', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    expect(await lab.backend.condition(volume.place, volume.spec)).toMatchObject({ abnormal: false });
    lab.btrfs('quota', 'disable', lab.disk.path);
    const condition = await lab.backend.condition(volume.place, volume.spec);
    expect(condition).toMatchObject({ abnormal: true });
    expect(condition.message).toMatch(/quota is off on .* run btrfs quota enable/);
    const [usage] = await lab.backend.usage(volume.place, volume.spec, lab.disk.path);
    expect(usage?.total).toBeGreaterThan(sizeBytes);
    lab.btrfs('quota', 'enable', lab.disk.path);
    lab.btrfs('quota', 'rescan', '-w', lab.disk.path);
    expect(await lab.backend.condition(volume.place, volume.spec)).toMatchObject({ abnormal: false });
    expect(fill(join(volume.path, 'file'), 2 * size).stoppedBy).toBe('EDQUOT');
  });

  it('holds the size of the record from the stage on, where a power cut took a growth from the quota', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const id = lab.btrfs('inspect-internal', 'rootid', volume.path).trim();
    lab.btrfs('qgroup', 'limit', `${size / 2}`, `0/${id}`, lab.disk.path);
    const path = join(lab.disk.basePath, 'staging');
    const intent = { path, readonly: false, mountFlags: [] };
    await lab.backend.stage(volume.place, volume.spec, intent, lab.call);
    try {
      expect(fill(join(path, 'file'), 2 * size).bytes / size).toBeGreaterThan(0.97);
    } finally {
      await lab.backend.unstage(volume.place, volume.spec, path, lab.call);
    }
  });

  it('tells when the numbers of the quota are inconsistent, and has them counted again', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    fill(join(volume.path, 'file'), size / 2);
    // what an administrator's own groups can do to it
    lab.btrfs('qgroup', 'create', '1/100', lab.disk.path);
    lab.btrfs('subvolume', 'snapshot', '-i', '1/100', volume.path, lab.disk.at('other'));
    const inconsistent = () => readFileSync(join(lab.sysPath, 'qgroups/inconsistent'), 'utf8').trim();
    expect(inconsistent()).toBe('1');
    const condition = await lab.backend.condition(volume.place, volume.spec);
    expect(condition).toMatchObject({ abnormal: true });
    expect(condition.message).toContain('are being counted again');
    await expect.poll(inconsistent, { timeout: 10_000, interval: 20 }).toBe('0');
    expect(await lab.backend.condition(volume.place, volume.spec)).toMatchObject({ abnormal: false });
  });

  it('tells that a subvolume is gone, or the pool is read-only, and does not make it anew', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    execFileSync('mount', ['-o', 'remount,ro', lab.disk.path]);
    expect((await lab.backend.condition(volume.place, volume.spec)).message).toContain('is read-only');
    execFileSync('mount', ['-o', 'remount,rw', lab.disk.path]);
    lab.btrfs('subvolume', 'delete', volume.path);
    expect((await lab.backend.condition(volume.place, volume.spec)).message).toMatch(/subvolume .* is gone/);
    expect(existsSync(volume.path)).toBe(false);
  });

  it('tells what the quota counts at once, where the file system tells of the whole pool', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    fill(join(volume.path, 'file'), size / 4);
    const [bytes, ...others] = await lab.backend.usage(volume.place, volume.spec, lab.disk.path);
    expect(others).toEqual([]);
    expect(bytes).toMatchObject({ unit: 'BYTES', total: sizeBytes });
    // written, but not yet on disk
    expect(Number(bytes?.used) / size).toBeGreaterThan(0.25);
    expect(Number(bytes?.used) / size).toBeLessThan(0.27);
    expect((bytes?.used ?? 0n) + (bytes?.available ?? 0n)).toBe(sizeBytes);
  });

  it(
    'ends in the same state when it is stopped at any command and repeated',
    { timeout: 240_000 },
    async () => {
      await using lab = new BtrfsLab();
      const source = await lab.make(sizeBytes);
      writeFileSync(join(source.path, 'file'), 'data');
      lab.btrfs('subvolume', 'create', join(source.path, 'nested'));
      const real = execFileSync('which', ['btrfs'], { encoding: 'utf8' }).trim();
      const file = join(lab.disk.basePath, 'count');
      const verbs = {
        create: (made: LabVolume) => lab.backend.create(made.place, made.spec, lab.call),
        capture: (made: LabVolume) =>
          lab.backend.capture({ ...source, isLive: false }, made.place, { allowsLoose: false }, lab.call),
        copy: (made: LabVolume) =>
          lab.backend.createFrom(
            { ...source, isLive: false },
            made.place,
            made.spec,
            { allowsLoose: false },
            lab.call,
          ),
      };
      // from that command on every one fails, as for a process that is no more; each other time after it has had its effect
      using _ = hideCommand(
        'btrfs',
        `n=$(($(cat ${file}) + 1)); echo $n > ${file}; last=$(cat ${file}.last)
       [ $n -lt $last ] && exec ${real} "$@"; [ $n -eq $last ] && [ $((last % 2)) -eq 1 ] && ${real} "$@"; exit 1`,
      );
      const stopAt = (step: number): void => {
        writeFileSync(file, '0');
        writeFileSync(`${file}.last`, String(step));
      };
      for (const [name, verb] of Object.entries(verbs)) {
        let step = 0;
        for (let isDone = false; !isDone; step += 1) {
          expect(step).toBeLessThan(60);
          const made = lab.plan(sizeBytes);
          stopAt(step);
          isDone = await verb(made).then(
            () => true,
            () => false,
          );
          stopAt(1000);
          if (!isDone) {
            expect(existsSync(made.path), `${name} ${step}`).toBe(false);
            await verb(made);
          }
          expect(readdirSync(made.place.path)).toEqual(['data']);
          if (name !== 'create') expect(readFileSync(join(made.path, 'file'), 'utf8')).toBe('data');
          await lab.backend.discard(made.place, lab.call.signal);
        }
        expect(step, name).toBeGreaterThan(3);
      }
      stopAt(1000);
      await lab.backend.discard(source.place, lab.call.signal);
      expect(lab.subvolumes()).toEqual([]);
      expect(await lab.qgroups()).toEqual([]);
    },
  );

  it('finds whether its limit holds by writing, turns quota on where the pool is all of a file system, and leaves nothing', async () => {
    await using lab = new BtrfsLab({ quota: false });
    const scratch = lab.plan(sizeBytes).place;
    const { signal } = lab.call;
    const shared = await new BtrfsBackend({ quotaPaths: [scratch.path] }).probe(scratch, signal);
    expect(shared).toMatchObject({ usable: true, enforcesLimit: false });
    expect(shared.detail).toMatch(/quota is off .* btrfs quota enable/);
    expect(existsSync(join(lab.sysPath, 'qgroups'))).toBe(false);
    const own = await lab.backend.probe(scratch, signal);
    expect(own).toMatchObject({ usable: true, enforcesLimit: true, holdsAgainst: 'trusted' });
    expect(readdirSync(scratch.path)).toEqual([]);
    expect(lab.subvolumes()).toEqual([]);
    expect(await lab.qgroups()).toEqual([]);
    {
      // a quota that stops nothing
      using _ = hideCommand('dd', 'exit 0');
      expect(await lab.backend.probe(scratch, signal)).toMatchObject({ enforcesLimit: false });
    }
    using _ = hideCommand('btrfs');
    expect(await lab.backend.probe(scratch, signal).catch(String)).toMatchObject({ usable: false });
  });

  it('does not work on another file system, and says so', async () => {
    await using pool = ScratchPool.make('plain');
    const found = await new BtrfsBackend().probe({ path: pool.path }, AbortSignal.timeout(10_000));
    expect(found).toEqual({ usable: false, detail: "the pool's file system is not btrfs" });
    const failed = await failureOf(
      new BtrfsBackend().create(
        { path: pool.path },
        {
          id: 'pvc-a' as never,
          backend: 'btrfs',
          accessType: 'mount',
          sizeBytes,
          provisioning: 'thin',
          limit: 'enforced',
        },
        { signal: AbortSignal.timeout(10_000) },
      ),
    );
    expect(failed).toBeInstanceOf(Error);
    expect(readdirSync(pool.path)).toEqual([]);
  });

  it('serves volumes of a pool from claim to trash, and none of their subvolumes outlives them', async () => {
    await using lab = await DiskLab.make('btrfs', 512);
    const paths = [lab.disk.path];
    const process = await lab.start({
      backends: [new BtrfsBackend({ poolPaths: paths, quotaPaths: paths })],
      pools: [{ ...lab.poolConfig('one', lab.disk.path), tenants: 'trusted' }],
    });
    const { volumeId, volumeContext } = await process.service.createVolume(
      request('pvc-a', sizeBytes, { parameters: { backend: 'btrfs' } }),
      callFor(),
    );
    expect(volumeContext['loam.dev/backend']).toBe('btrfs');
    await lab.stage(process, volumeId);
    await lab.publish(process, volumeId);
    const target = lab.targetOf(volumeId);
    execFileSync('btrfs', ['subvolume', 'create', join(lab.at('volumes', volumeId), 'data/nested')], {
      stdio: 'ignore',
    });
    expect(fill(join(target, 'file'), 2 * size).stoppedBy).toBe('EDQUOT');
    await lab.unpublish(process, volumeId);
    await lab.unstage(process, volumeId);
    await process.service.deleteVolume({ volumeId }, callFor());
    lab.expectEmpty(process);
    const list = execFileSync('btrfs', ['subvolume', 'list', lab.disk.path], { encoding: 'utf8' });
    expect(list).toBe('');
  });
});
