import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import type { Directory } from '../../../src/host/directory.ts';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { silentLog } from '../../../src/model/log.ts';
import { StorageError } from '../../../src/model/errors.ts';
import type { Labels, Metrics } from '../../../src/model/metrics.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { formatRecord, type VolumeRecord } from '../../../src/volumes/records/record.ts';
import { Trash, type TrashOptions } from '../../../src/volumes/trash/trash.ts';
import { backOffMs } from '../../../src/volumes/trash/trash-entry.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';
import { aRecord } from '../../support/volume-record.ts';

const { signal } = new AbortController();
const soon = () => AbortSignal.timeout(8000);

class RecordedMetrics implements Metrics {
  readonly counts = new Map<string, number>();
  readonly gauges = new Map<string, number>();
  count(name: string, labels: Labels, by = 1): void {
    const key = `${name}${JSON.stringify(labels)}`;
    this.counts.set(key, (this.counts.get(key) ?? 0) + by);
  }
  gauge(name: string, _labels: Labels, value: number): void {
    this.gauges.set(name, value);
  }
  observeSeconds(): void {}
}

/** A pool with its volumes and a trash over it. */
class Pool implements AsyncDisposable {
  readonly scratch: ScratchDirectory;
  readonly volumes: Directory;
  readonly clock = new ManualClock();
  readonly metrics = new RecordedMetrics();
  readonly removed: string[] = [];
  readonly stops: Trash[] = [];

  private constructor(scratch: ScratchDirectory, volumes: Directory) {
    this.scratch = scratch;
    this.volumes = volumes;
  }

  static async make(): Promise<Pool> {
    const scratch = await ScratchDirectory.make();
    return new Pool(scratch, await scratch.directory.ensureChild('volumes', 0o700));
  }

  trash(options: Partial<TrashOptions> = {}): Trash {
    const trash = new Trash({
      pool: this.scratch.directory,
      poolName: 'fast',
      pace: unlimitedPace,
      log: silentLog,
      metrics: this.metrics,
      clock: this.clock,
      signal,
      ...options,
    });
    trash.onRemoved((id) => this.removed.push(id));
    this.stops.push(trash);
    return trash;
  }

  /** Makes a volume with a file in it; answers its directory. */
  volume(id: string, how: Partial<VolumeRecord> = {}, parent = 'volumes'): string {
    const path = this.scratch.at(parent, id);
    mkdirSync(`${path}/data`, { recursive: true });
    writeFileSync(`${path}/data/file`, 'secret');
    writeFileSync(`${path}/volume.json`, formatRecord(aRecord(id.replace(/\.\d+$/, ''), how)));
    return path;
  }

  get left(): string[] {
    return readdirSync(this.scratch.at('trash'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const trash of this.stops) await trash.stop();
    await this.volumes.close();
    await this.scratch[Symbol.asyncDispose]();
  }
}

const id = volumeIdOf('pvc-1');

afterEach(() => {
  expect(process.listenerCount('unhandledRejection')).toBeLessThan(5);
});

describe('taking a volume into the trash', () => {
  it('moves it at once, keeps the trash private and removes it in the background', async () => {
    await using pool = await Pool.make();
    const trash = pool.trash();
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    expect(existsSync(pool.scratch.at('volumes/pvc-1'))).toBe(false);
    expect(statSync(pool.scratch.at('trash')).mode & 0o777).toBe(0o700);
    expect(trash.holds('pvc-1')).toBe(true);
    expect(trash.usedBytes()).toBe(1024n);
    await trash.whenRemoved('pvc-1', soon());
    expect(pool.left).toEqual([]);
    expect(trash.holds('pvc-1')).toBe(false);
    expect(trash.usedBytes()).toBe(0n);
    expect(pool.removed).toEqual(['pvc-1']);
    expect(pool.metrics.gauges.get('loam_trash_entries')).toBe(0);
    expect(pool.metrics.counts.get('loam_trash_removed_total{"pool":"fast","method":"delete"}')).toBe(1);
  });

  it('is fine where the volume is not there, and when repeated', async () => {
    await using pool = await Pool.make();
    const trash = pool.trash();
    await trash.take(pool.volumes, id);
    expect(trash.holds('pvc-1')).toBe(false);
    await trash.whenRemoved('pvc-1', soon());
    pool.volume('pvc-1');
    await Promise.all([trash.take(pool.volumes, id), trash.take(pool.volumes, id)]);
    await trash.whenRemoved('pvc-1', soon());
    expect(pool.left).toEqual([]);
  });

  it('does not take a missing trash for a missing volume', async () => {
    await using pool = await Pool.make();
    const trash = pool.trash();
    await trash.load();
    rmdirSync(pool.scratch.at('trash'));
    pool.volume('pvc-1');
    await expect(trash.take(pool.volumes, id)).rejects.toMatchObject({ reason: 'host-failure' });
    expect(existsSync(pool.scratch.at('volumes/pvc-1/data/file'))).toBe(true);
  });

  it('holds several deleted volumes of one id, and calls them removed when the last is gone', async () => {
    await using pool = await Pool.make();
    const gates: (() => void)[] = [];
    const beforeRemove = () => new Promise<void>((resolve) => gates.push(resolve));
    const trash = pool.trash({ beforeRemove });
    for (const _ of [1, 2]) {
      pool.volume('pvc-1');
      await trash.take(pool.volumes, id);
    }
    expect(trash.entries().map((entry) => entry.id)).toEqual(['pvc-1', 'pvc-1']);
    expect(new Set(trash.entries().map((entry) => entry.name)).size).toBe(2);
    const removed = trash.whenRemoved('pvc-1', soon());
    await expect.poll(() => gates.length).toBe(1);
    gates[0]?.();
    await expect.poll(() => gates.length).toBe(2);
    expect(pool.removed).toEqual([]);
    gates[1]?.();
    await removed;
    expect(pool.removed).toEqual(['pvc-1']);
    expect(pool.left).toEqual([]);
  });

  it('tells who lets go of the volume where it lies now and what it was', async () => {
    await using pool = await Pool.make();
    const told: unknown[] = [];
    const trash = pool.trash({
      beforeRemove: async (path, record) => {
        told.push(record?.spec.id, existsSync(`${path}/data/file`));
      },
    });
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    await trash.whenRemoved('pvc-1', soon());
    expect(told).toEqual(['pvc-1', true]);
  });
});

describe('a start-up with entries in the trash', () => {
  it('goes on with them and leaves alone what is not ours', async () => {
    await using pool = await Pool.make();
    pool.volume('pvc-1.1700000000000', {}, 'trash');
    pool.volume('pvc-2.1700000000001', { onDelete: 'scrub' }, 'trash');
    mkdirSync(pool.scratch.at('trash/lost+found'));
    const trash = pool.trash();
    await trash.load();
    await Promise.all(['pvc-1', 'pvc-2'].map((each) => trash.whenRemoved(each, soon())));
    expect(pool.left).toEqual(['lost+found']);
  });

  it('ends what a crash left between the record’s removal and the entry’s', async () => {
    await using pool = await Pool.make();
    mkdirSync(pool.scratch.at('trash/pvc-1.5'), { recursive: true });
    const trash = pool.trash();
    await trash.load();
    await trash.whenRemoved('pvc-1', soon());
    expect(pool.left).toEqual([]);
  });
});

describe('a scrub', () => {
  it('erases before it removes, and the record goes last', async () => {
    await using pool = await Pool.make();
    const path = pool.volume('pvc-1', { onDelete: 'scrub', scrub: 'discard' });
    const steps: string[] = [];
    const log = {
      ...silentLog,
      info: (_: object, message: string) => void steps.push(message),
      child: () => log,
    };
    const trash = pool.trash({
      log,
      beforeRemove: async (entryPath) => void steps.push(readFileSync(`${entryPath}/data/file`, 'utf8')),
    });
    expect(existsSync(path)).toBe(true);
    await trash.take(pool.volumes, id);
    await trash.whenRemoved('pvc-1', soon());
    expect(steps).toEqual(['secret', 'data erased and verified', 'deleted volume removed']);
  });

  it('keeps the record until no data are left', async () => {
    await using pool = await Pool.make();
    const trash = pool.trash({
      pace: {
        ...unlimitedPace,
        files: async () => {
          const [name = ''] = pool.left;
          const entry = pool.scratch.at('trash', name);
          looks.push(existsSync(`${entry}/volume.json`) || !existsSync(`${entry}/data`));
        },
      },
    });
    const looks: boolean[] = [];
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    await trash.whenRemoved('pvc-1', soon());
    expect(looks.length).toBeGreaterThan(1);
    expect(looks).not.toContain(false);
  });

  it('that cannot be done rejects who waits, keeps the data and the record, and is tried again', async () => {
    await using pool = await Pool.make();
    const path = pool.volume('pvc-1', { onDelete: 'scrub', scrub: 'discard' });
    linkSync(`${path}/data/file`, pool.scratch.at('outside'));
    const trash = pool.trash();
    await trash.take(pool.volumes, id);
    await expect(trash.whenRemoved('pvc-1', soon())).rejects.toMatchObject({ reason: 'cannot-erase' });
    // who comes while the next attempt is being waited for learns it too
    await expect(trash.whenRemoved('pvc-1', soon())).rejects.toMatchObject({ reason: 'cannot-erase' });
    const [entry] = trash.entries();
    expect(entry).toMatchObject({ attempts: 1, method: 'scrub', failure: { reason: 'cannot-erase' } });
    expect(readdirSync(pool.scratch.at('trash', entry?.name ?? '')).sort()).toEqual(['data', 'volume.json']);
    expect(readFileSync(pool.scratch.at('outside'), 'utf8')).toBe('secret');

    unlinkSync(pool.scratch.at('outside'));
    await pool.clock.advance(backOffMs(1));
    await expect.poll(() => pool.removed, { timeout: 8000 }).toEqual(['pvc-1']);
    expect(pool.left).toEqual([]);
  });

  it('does not keep volumes waiting that are only to be removed', async () => {
    await using pool = await Pool.make();
    const bytes = (_: number, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
    const trash = pool.trash({ pace: { ...unlimitedPace, bytes } });
    pool.volume('pvc-scrubbed', { onDelete: 'scrub', scrub: 'discard' });
    pool.volume('pvc-1');
    await trash.take(pool.volumes, volumeIdOf('pvc-scrubbed'));
    await trash.take(pool.volumes, id);
    await trash.whenRemoved('pvc-1', soon());
    expect(trash.entries().map((entry) => entry.id)).toEqual(['pvc-scrubbed']);
  });
});

describe('waiting and stopping', () => {
  it('ends a wait with its own signal and leaves the work alone', async () => {
    await using pool = await Pool.make();
    const gate = Promise.withResolvers<void>();
    const trash = pool.trash({ beforeRemove: () => gate.promise });
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    const abort = new AbortController();
    const waiting = trash.whenRemoved('pvc-1', abort.signal);
    abort.abort(new Error('deadline'));
    await expect(waiting).rejects.toThrow('deadline');
    gate.resolve();
    await trash.whenRemoved('pvc-1', soon());
  });

  it('stops with entries left, rejects who waits, and another process goes on', async () => {
    await using pool = await Pool.make();
    const beforeRemove = (_path: string, _record: unknown, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
    const trash = pool.trash({ beforeRemove });
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    const waiting = trash.whenRemoved('pvc-1', soon());
    const [outcome] = await Promise.allSettled([waiting, trash.stop()]);
    expect(outcome).toMatchObject({ status: 'rejected', reason: { reason: 'cancelled' } });
    expect(pool.left).toHaveLength(1);
    const next = pool.trash();
    await next.load();
    await next.whenRemoved('pvc-1', soon());
    expect(pool.left).toEqual([]);
  });

  it('goes on although a listener throws', async () => {
    await using pool = await Pool.make();
    const trash = pool.trash();
    trash.onRemoved(() => {
      throw new Error('bad listener');
    });
    const heard: string[] = [];
    const stop = trash.onRemoved((each) => heard.push(each));
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    await trash.whenRemoved('pvc-1', soon());
    stop();
    pool.volume('pvc-2');
    await trash.take(pool.volumes, volumeIdOf('pvc-2'));
    await trash.whenRemoved('pvc-2', soon());
    expect(heard).toEqual(['pvc-1']);
  });
});

describe('giving up what cannot be removed', () => {
  const away = (): Promise<void> => Promise.reject(new StorageError('pool-unavailable', 'the disk is away'));
  const waiting = async (pool: Pool): Promise<{ trash: Trash; name: string }> => {
    const trash = pool.trash({ beforeRemove: away });
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    await expect.poll(() => trash.entries()[0]?.failure).toBeDefined();
    return { trash, name: trash.entries()[0]?.name ?? '' };
  };

  it('ends the waiting of all who wait, tells of it once, and tries no more', async () => {
    await using pool = await Pool.make();
    await using elsewhere = await pool.scratch.directory.ensureChild('elsewhere', 0o700);
    const { trash, name } = await waiting(pool);
    await trash.giveUp(name, (folder) => folder.rename(name, elsewhere, name));
    expect(trash.entries()).toEqual([]);
    expect(pool.removed).toEqual(['pvc-1']);
    expect(pool.clock.waiting).toBe(0);
    await trash.whenRemoved('pvc-1', soon());
    expect(existsSync(pool.scratch.at('elsewhere', name, 'data/file'))).toBe(true);
    await trash.giveUp(name, () => Promise.reject(new Error('not asked for')));
  });

  it('goes on trying where it cannot be moved out', async () => {
    await using pool = await Pool.make();
    const { trash, name } = await waiting(pool);
    await expect(trash.giveUp(name, () => Promise.reject(new Error('no room')))).rejects.toThrow('no room');
    await expect.poll(() => trash.entries()[0]?.attempts).toBe(2);
    expect(pool.removed).toEqual([]);
    expect(pool.left).toEqual([name]);
  });

  it('counts it as gone where only the last sync of its move failed', async () => {
    await using pool = await Pool.make();
    await using elsewhere = await pool.scratch.directory.ensureChild('elsewhere', 0o700);
    const { trash, name } = await waiting(pool);
    const move = async (folder: Directory): Promise<void> => {
      await folder.rename(name, elsewhere, name);
      throw new Error('input/output error');
    };
    await expect(trash.giveUp(name, move)).rejects.toThrow('input/output error');
    expect(trash.entries()).toEqual([]);
  });

  it('is refused while it is being removed', async () => {
    await using pool = await Pool.make();
    const gate = Promise.withResolvers<void>();
    const trash = pool.trash({ beforeRemove: () => gate.promise });
    pool.volume('pvc-1');
    await trash.take(pool.volumes, id);
    const name = trash.entries()[0]?.name ?? '';
    await expect(trash.giveUp(name, away)).rejects.toMatchObject({ reason: 'busy' });
    gate.resolve();
    await trash.whenRemoved('pvc-1', soon());
    expect(pool.left).toEqual([]);
  });
});
