import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { asNobody, BtrfsLab, fill } from '../support/btrfs-lab.ts';
import { MiB } from '../support/disk-lab.ts';
import { hideCommand } from '../support/hidden-command.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';

const why = whyNoScratchPool('btrfs');
const sizeBytes = 64n * MiB;
const size = Number(sizeBytes);
const strict = { allowsLoose: false };

describe.skipIf(why !== '')(`copies of a btrfs volume${why}`, () => {
  it('are of one moment, read-only as snapshots, and independent of their source', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    writeFileSync(join(volume.path, 'file'), 'before');
    const snapshot = lab.plan(sizeBytes);
    const source = { ...volume, isLive: true };
    expect(await lab.backend.capture(source, snapshot.place, strict, lab.call)).toEqual({
      consistency: 'atomic',
    });
    writeFileSync(join(volume.path, 'file'), 'after');
    expect(() => writeFileSync(join(snapshot.path, 'file'), 'x')).toThrow(/EROFS/);
    const clone = lab.plan(2n * sizeBytes);
    const from = { ...snapshot, isLive: false };
    expect(await lab.backend.createFrom(from, clone.place, clone.spec, strict, lab.call)).toEqual({
      consistency: 'atomic',
    });
    expect(readFileSync(join(clone.path, 'file'), 'utf8')).toBe('before');
    writeFileSync(join(clone.path, 'file'), 'mine');
    expect(readFileSync(join(snapshot.path, 'file'), 'utf8')).toBe('before');
    expect(readFileSync(join(volume.path, 'file'), 'utf8')).toBe('after');
    // deleting the source keeps both
    await lab.backend.discard(volume.place, lab.call.signal);
    await lab.backend.discard(snapshot.place, lab.call.signal);
    expect(readFileSync(join(clone.path, 'file'), 'utf8')).toBe('mine');
  });

  it('count what they share with their source against their own size, and have no scan started', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    fill(join(volume.path, 'file'), size / 2);
    const clone = lab.plan(2n * sizeBytes);
    await lab.backend.createFrom({ ...volume, isLive: true }, clone.place, clone.spec, strict, lab.call);
    expect(readFileSync(join(lab.sysPath, 'qgroups/inconsistent'), 'utf8').trim()).toBe('0');
    const { bytes, stoppedBy } = fill(join(clone.path, 'more'), 4 * size);
    expect(stoppedBy).toBe('EDQUOT');
    expect(bytes / size).toBeGreaterThan(1.46);
    expect(bytes / size).toBeLessThanOrEqual(1.5);
    const written = await lab.backend.writtenBytes(clone.place);
    expect(Number(written) / size).toBeGreaterThan(1.96);
    // a full volume can be copied still
    const full = lab.plan(2n * sizeBytes);
    await lab.backend.createFrom({ ...clone, isLive: true }, full.place, full.spec, strict, lab.call);
    expect(statSync(join(full.path, 'more')).size).toBe(bytes);
  });

  it('hold a prefix of what somebody is writing meanwhile', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const script = `const fs = require('node:fs'); const fd = fs.openSync(process.argv[1], 'a');
      console.log('writing'); for (let n = 0; ; n += 1) { fs.writeSync(fd, n + '\\n'); if (n % 16 === 0) fs.fsyncSync(fd); }`;
    const writer = spawn(process.execPath, ['-e', script, join(volume.path, 'log')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(writer.stdout, 'data');
      for (let round = 0; round < 5; round += 1) {
        const snapshot = await lab.snapshot(volume);
        const lines = readFileSync(join(snapshot.path, 'log'), 'utf8').split('\n').slice(0, -1);
        expect(lines).toEqual(lines.map((_, index) => String(index)));
        expect(lines.length).toBeGreaterThan(0);
      }
    } finally {
      writer.kill('SIGKILL');
      await once(writer, 'close');
    }
  });

  it('have the subvolumes that a pod made inside, and say that they are of several moments', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    mkdirSync(join(volume.path, 'folder'), { mode: 0o777 });
    for (const name of ['folder/b', 'folder/b/c']) lab.btrfs('subvolume', 'create', join(volume.path, name));
    writeFileSync(join(volume.path, 'folder/b/c/file'), 'deep');
    lab.btrfs('subvolume', 'snapshot', '-r', join(volume.path, 'folder/b/c'), join(volume.path, 'folder/r'));
    const source = { ...volume, isLive: true };
    const refused = lab.plan(sizeBytes);
    const failed = await refusal(lab.backend.capture(source, refused.place, strict, lab.call));
    expect(failed).toMatchObject({ reason: 'not-consistent' });
    expect(readdirSync(refused.place.path)).toEqual([]);
    const snapshot = lab.plan(sizeBytes);
    expect(await lab.backend.capture(source, snapshot.place, { allowsLoose: true }, lab.call)).toEqual({
      consistency: 'loose',
    });
    const clone = lab.plan(sizeBytes);
    const from = { ...snapshot, isLive: false };
    expect(await lab.backend.createFrom(from, clone.place, clone.spec, strict, lab.call)).toEqual({
      consistency: 'quiet',
    });
    for (const { path } of [snapshot, clone]) {
      expect(readFileSync(join(path, 'folder/b/c/file'), 'utf8')).toBe('deep');
      expect(readFileSync(join(path, 'folder/r/file'), 'utf8')).toBe('deep');
    }
    expect(() => writeFileSync(join(snapshot.path, 'folder/b/c/new'), '')).toThrow(/EROFS/);
    writeFileSync(join(clone.path, 'folder/b/c/new'), '');
    for (const { place } of [volume, snapshot, clone]) await lab.backend.discard(place, lab.call.signal);
    expect(lab.subvolumes()).toEqual([]);
    expect(await lab.qgroups()).toEqual([]);
  });

  it('are not made where a subvolume inside cannot be looked at, and take one that goes meanwhile for gone', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    lab.btrfs('subvolume', 'create', join(volume.path, 'inner'));
    const source = { ...volume, isLive: false };
    const real = execFileSync('which', ['btrfs'], { encoding: 'utf8' }).trim();
    const inner = lab.btrfs('inspect-internal', 'rootid', join(volume.path, 'inner')).trim();
    const looks = 'subvolid-resolve';
    const failing = `[ "$2 $3" != "${looks} ${inner}" ] || { echo "ERROR: resolving subvolid $3 error -5" >&2; exit 1; }`;
    const refused = lab.plan(sizeBytes);
    {
      using _ = hideCommand('btrfs', `${failing}; exec ${real} "$@"`);
      const failed = await refusal(lab.backend.capture(source, refused.place, strict, lab.call));
      expect(failed).toMatchObject({ reason: 'host-failure' });
      expect(readdirSync(refused.place.path)).toEqual([]);
    }
    const going = `[ "$2 $3" != "${looks} ${inner}" ] || { [ ! -e ${volume.path}/inner ] || ${real} subvolume delete -c ${volume.path}/inner > /dev/null; }`;
    using _ = hideCommand('btrfs', `${going}; exec ${real} "$@"`);
    const copied = await lab.backend.capture(source, refused.place, strict, lab.call);
    expect(copied).toEqual({ consistency: 'atomic' });
  });

  it('stop a writer at their own size in the subvolumes inside, too, which nobody has looked for', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    lab.btrfs('subvolume', 'create', join(volume.path, 'inner'));
    fill(join(volume.path, 'inner/file'), size / 4);
    const clone = lab.plan(sizeBytes);
    const source = { ...volume, isLive: false };
    await lab.backend.createFrom(source, clone.place, clone.spec, strict, lab.call);
    const inner = fill(join(clone.path, 'inner/more'), 4 * size);
    expect(inner.stoppedBy).toBe('EDQUOT');
    expect(inner.bytes / size).toBeGreaterThan(0.7);
    expect(inner.bytes / size).toBeLessThanOrEqual(0.76);
  });

  it('are made and deleted by the hundred, each in its time', { timeout: 240_000 }, async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    fill(join(volume.path, 'file'), size / 2);
    const times: number[] = [];
    const snapshots = [];
    for (let round = 0; round < 200; round += 1) {
      const startMs = performance.now();
      snapshots.push(await lab.snapshot(volume));
      times.push(performance.now() - startMs);
    }
    // the median is some 20 ms on a quiet machine, whatever the data's size
    expect(times.toSorted((left, right) => left - right)[100]).toBeLessThan(500);
    expect(await lab.backend.condition(volume.place, volume.spec)).toMatchObject({ abnormal: false });
    expect(fill(join(volume.path, 'more'), 2 * size).stoppedBy).toBe('EDQUOT');
    for (const { place } of [...snapshots, volume]) await lab.backend.discard(place, lab.call.signal);
    expect(lab.subvolumes()).toEqual([]);
    expect(await lab.qgroups()).toEqual([]);
  });

  it('are not led out of the volume by a link in the place of a subvolume', async () => {
    await using lab = new BtrfsLab();
    const victim = await lab.make(sizeBytes);
    writeFileSync(join(victim.path, 'secret'), 'secret');
    const volume = await lab.make(sizeBytes);
    lab.btrfs('subvolume', 'create', join(volume.path, 'here'));
    lab.btrfs('subvolume', 'create', join(volume.path, 'here/inner'));
    symlinkSync(victim.place.path, join(volume.path, 'link'));
    const snapshot = await lab.snapshot(volume);
    expect(readdirSync(join(snapshot.path, 'here'))).toEqual(['inner']);
    await lab.backend.discard(snapshot.place, lab.call.signal);
    await lab.backend.discard(volume.place, lab.call.signal);
    expect(readFileSync(join(victim.path, 'secret'), 'utf8')).toBe('secret');
    expect(lab.subvolumes()).toEqual(['pvc-1/data']);
  });

  it('are refused under simple quota, which would count only what they write themselves', async () => {
    await using lab = new BtrfsLab({ quota: false });
    // the tools here may be too old to say it: BTRFS_IOC_QUOTA_CTL, command 4
    const enable = 'open(F,"<",$ARGV[0]); $b=pack("QQ",4,0); ioctl(F,0xC0109428,$b) or die $!';
    try {
      execFileSync('perl', ['-e', enable, lab.disk.path], { stdio: 'ignore' });
    } catch {
      return;
    }
    const volume = await lab.make(sizeBytes);
    expect(fill(join(volume.path, 'file'), 2 * size).stoppedBy).toBe('EDQUOT');
    await lab.snapshot(volume);
    const clone = lab.plan(sizeBytes);
    const source = { ...volume, isLive: false };
    const failed = await refusal(lab.backend.createFrom(source, clone.place, clone.spec, strict, lab.call));
    expect(failed).toMatchObject({ reason: 'limit-not-enforced' });
    const advisory = { ...clone.spec, limit: 'advisory' as const };
    await lab.backend.createFrom(source, clone.place, advisory, strict, lab.call);
  });
});

describe.skipIf(why !== '')(`a deleted btrfs volume${why}`, () => {
  it('leaves no subvolume and no quota group, however full and nested it was', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    const script =
      'set -e; cd "$1"; btrfs subvolume create a; btrfs subvolume create a/b; btrfs subvolume snapshot -r a/b a/b/c; btrfs subvolume create "line\nbreak"; touch a/b/file';
    const made = asNobody(script, volume.path);
    expect(made.ok, made.output).toBe(true);
    lab.btrfs('property', 'set', join(volume.path, 'a'), 'ro', 'true');
    fill(join(volume.path, 'file'), 2 * size);
    await lab.backend.condition(volume.place, volume.spec);
    await lab.backend.discard(volume.place, lab.call.signal);
    await lab.backend.discard(volume.place, lab.call.signal);
    expect(readdirSync(volume.place.path)).toEqual([]);
    expect(lab.subvolumes()).toEqual([]);
    expect(await lab.qgroups()).toEqual([]);
  });

  it('goes with more subvolumes inside than a copy of it would be made with', async () => {
    await using lab = new BtrfsLab();
    const volume = await lab.make(sizeBytes);
    lab.btrfs('subvolume', 'create', join(volume.path, 'inner'));
    const real = execFileSync('which', ['btrfs'], { encoding: 'utf8' }).trim();
    const outer = lab.btrfs('inspect-internal', 'rootid', volume.path).trim();
    // thousands that went right after they were listed
    const script = `case "$2 $3" in
      'list -p') seq -f 'ID 9%05.0f gen 9 parent ${outer} top level ${outer} path data/x' 2001 ;;
      'subvolid-resolve 9'?????) echo "ERROR: resolving subvolid $3 error -2" >&2; exit 1 ;;
    esac
    exec ${real} "$@"`;
    {
      using _ = hideCommand('btrfs', script);
      const source = { ...volume, isLive: false };
      const copying = lab.backend.capture(source, lab.plan(sizeBytes).place, strict, lab.call);
      expect((await refusal(copying)).message).toMatch(/more than 2000 subvolumes inside/);
      await lab.backend.discard(volume.place, lab.call.signal);
    }
    expect(lab.subvolumes()).toEqual([]);
  });

  it('may be gone, or no subvolume at all', async () => {
    await using lab = new BtrfsLab();
    const { place, path } = lab.plan(sizeBytes);
    mkdirSync(path);
    writeFileSync(join(path, 'file'), 'kept');
    await lab.backend.discard(place, lab.call.signal);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('kept');
    rmSync(place.path, { recursive: true });
    await lab.backend.discard(place, lab.call.signal);
  });
});
