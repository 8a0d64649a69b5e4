import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import { silentLog } from '../../../src/model/log.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { AllocatedImages } from '../../../src/volumes/space/allocated-images.ts';
import type { VolumeRecord } from '../../../src/volumes/records/record.ts';
import { RecordStore } from '../../../src/volumes/records/record-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const MiB = 1n << 20n;
let root: string;
let folder: Directory;
let records: RecordStore;
const clock = new ManualClock();
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'loam-images-'));
  folder = await Directory.open(root);
  records = new RecordStore(folder);
});
afterEach(async () => {
  await folder.close();
  await rm(root, { recursive: true });
});

async function addImage(name: string, writtenMiB: number): Promise<void> {
  const record: VolumeRecord = {
    schema: 1,
    name,
    state: 'ready',
    spec: {
      id: volumeIdOf(name),
      backend: 'loopback',
      accessType: 'mount',
      sizeBytes: 8n * MiB,
      fsType: 'ext4',
      provisioning: 'thin',
      limit: 'enforced',
    },
    parameters: {},
    onDelete: 'delete',
    scrub: 'zero',
    sharing: 'none',
    createdAtMs: 1,
    acknowledged: true,
  };
  await mkdir(join(root, name));
  await writeFile(join(root, name, 'image'), Buffer.alloc(writtenMiB << 20, 'x'));
  records.put(record);
}

function watch(
  hasCopies: () => boolean,
  sharedOf: (paths: readonly string[]) => readonly bigint[],
): AllocatedImages {
  return new AllocatedImages({
    records,
    pathOf: (id) => join(root, id),
    hasCopies,
    clock,
    log: silentLog,
    signal: new AbortController().signal,
    sharedBytesOf: async (paths) => sharedOf(paths),
  });
}

describe('the look at a pool’s images', () => {
  test('asks nobody what is shared where there are no copies, and forgets what was', async () => {
    await addImage('a', 2);
    records.noteShared('a', 2n * MiB);
    const images = watch(
      () => false,
      () => {
        throw new Error('asked');
      },
    );
    await images.look();
    expect(records.sharedBytes('a')).toBe(0n);
    expect(records.unwrittenBytes).toBe(6n * MiB);
  });

  test('counts all as shared until it was told better, and asks again a minute later', async () => {
    await addImage('a', 2);
    const answers = [2n * MiB, MiB];
    let asked = 0;
    const images = watch(
      () => true,
      (paths) => {
        asked += 1;
        expect(records.unwrittenBytes).toBe(8n * MiB);
        return paths.map(() => answers[asked - 1] ?? 0n);
      },
    );
    await images.look();
    expect(records.unwrittenBytes).toBe(8n * MiB);
    await images.look();
    expect(asked).toBe(1);
    await clock.advance(60_000);
    await images.look();
    expect(asked).toBe(2);
    expect(records.unwrittenBytes).toBe(7n * MiB);
  });

  test('asks for a few at a time, each in its turn, and not again for what shares nothing', async () => {
    for (let index = 0; index < 20; index += 1) await addImage(`v${index}`, 1);
    const asked: number[] = [];
    const images = watch(
      () => true,
      (paths) => {
        asked.push(paths.length);
        return paths.map(() => 0n);
      },
    );
    await images.look();
    await images.look();
    await images.look();
    expect(asked).toEqual([16, 4]);
    expect(records.unwrittenBytes).toBe(20n * 7n * MiB);
  });

  test('takes those that it knew before the first copy for what was noted of them, however many there are', async () => {
    for (let index = 0; index < 20; index += 1) await addImage(`v${index}`, 1);
    let hasCopies = false;
    const images = watch(
      () => hasCopies,
      (paths) => paths.map(() => MiB),
    );
    await images.look();
    hasCopies = true;
    records.noteShared('v3', MiB);
    await addImage('made-since', 1);
    await images.look();
    expect(records.unwrittenBytes).toBe(21n * 7n * MiB + MiB);
    expect(records.sharedBytes('v3')).toBe(MiB);
  });

  test('does not believe what it saw before a copy was made', async () => {
    await addImage('a', 2);
    const images = watch(
      () => true,
      (paths) => {
        records.noteShared('a', 2n * MiB); // a snapshot, while the file system was asked
        return paths.map(() => 0n);
      },
    );
    await images.look();
    expect(records.sharedBytes('a')).toBe(2n * MiB);
  });
});
