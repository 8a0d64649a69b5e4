import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DiskInventory } from '../../../src/model/disk-inventory.ts';
import { StorageError, type Reason } from '../../../src/model/errors.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';
import { inventoryOf } from '../../../src/volumes/inventory/take-inventory.ts';
import { formatRecord } from '../../../src/volumes/records/record.ts';
import { whyStuck } from '../../../src/volumes/trash/why-stuck.ts';
import { VolumeLab } from '../../support/volume-lab.ts';
import { aRecord } from '../../support/volume-record.ts';

const id = volumeIdOf('sdb-1');
const disk = { entry: 'sdb', type: 'ext4', uuid: '1b4e28ba-2fa1-11d2-883f-0016d3cca427' };
const spec = { ...aRecord(id).spec, backend: 'disk', limit: 'enforced', disk } as const;

describe('what lies on the disks besides volumes', () => {
  let lab: VolumeLab;
  beforeEach(async () => {
    lab = await VolumeLab.make();
    // a folder that is not empty becomes no pool
    await (await lab.start()).stop();
  });
  afterEach(() => lab.clear());
  const inventory = async (): Promise<DiskInventory> => inventoryOf((await lab.start()).environment);
  const inPool = (...names: string[]): string => join(lab.poolPath(), ...names);

  it('includes what somebody has put into the trash, at any time, and nothing of ours', async () => {
    const found = await inventory();
    expect(await found.litter()).toEqual([]);
    mkdirSync(inPool('trash/pvc-1'));
    writeFileSync(inPool('trash/notes.txt'), '');
    mkdirSync(inPool('trash/pvc-2.1700000000000'));
    expect(await found.litter()).toEqual([
      { name: 'notes.txt', poolName: 'one', why: `Loam did not put ${inPool('trash/notes.txt')} there` },
      { name: 'pvc-1', poolName: 'one', why: `Loam did not put ${inPool('trash/pvc-1')} there` },
    ]);
  });

  it('includes a sample of very much, and how much more there is', async () => {
    for (let at = 0; at < 60; at += 1) writeFileSync(inPool('trash', `copy ${at}`), '');
    const litter = await (await inventory()).litter();
    expect(litter).toHaveLength(50);
    expect(litter.at(-1)).toMatchObject({
      name: 'trash',
      why: `Loam did not put 11 more into ${inPool('trash')}`,
    });
  });

  it('includes names of any bytes, and leaves all of it alone, also at the next start', async () => {
    const bytes = Buffer.concat([Buffer.from(`${inPool('trash')}/`), Buffer.from([0xff, 0x1b])]);
    mkdirSync(bytes);
    const found = await inventory();
    expect(await found.litter()).toMatchObject([{ name: '\ufffd\u001b' }]);
    expect(readdirSync(inPool('trash'))).toHaveLength(1);
  });

  it('includes a trash that cannot be read', async () => {
    const { environment } = await lab.start();
    for (const { trash } of environment.pools.open())
      trash.unknownNames = () => Promise.reject(new Error('EIO: i/o error'));
    expect(await inventoryOf(environment).litter()).toEqual([
      {
        name: 'trash',
        isTrash: true,
        poolName: 'one',
        why: `${inPool('trash')} cannot be read: EIO: i/o error`,
      },
    ]);
  });

  it('includes disks that were given up, and notes of such that nobody can read', async () => {
    for (const name of ['sdb-1.1700000000000', 'sdc-1.1700000000001']) {
      mkdirSync(inPool('.forgotten', name), { recursive: true });
      const claim = { namespace: 'shop', name: 'data', uid: 'uid-1' };
      const text = name.startsWith('sdb') ? formatRecord({ ...aRecord(id), spec, claim }) : 'garbage';
      writeFileSync(inPool('.forgotten', name, 'volume.json'), text);
    }
    const found = await inventory();
    expect(found.forgotten()).toEqual([
      {
        volumeId: 'sdb-1',
        poolName: 'one',
        sizeBytes: spec.sizeBytes,
        claim: { namespace: 'shop', name: 'data', uid: 'uid-1' },
        type: 'ext4',
        uuid: disk.uuid,
        mountPoint: inPool('discovery/sdb'),
        path: inPool('.forgotten/sdb-1.1700000000000'),
        sinceMs: 1_700_000_000_000,
      },
    ]);
    const [broken] = found.broken();
    expect(broken).toMatchObject({ id: 'sdc-1.1700000000001', poolName: 'one', isNote: true });
    expect(broken?.why).toContain(`${inPool('.forgotten/sdc-1.1700000000001')} cannot be read`);
  });
});

describe('what keeps a deleted volume in the trash', () => {
  const ofReason = (reason: Reason) => new StorageError(reason, 'why');
  const mountPoint = '/p/discovery/sdb';
  const why = (reason: Reason | undefined, of?: typeof spec) =>
    whyStuck(
      {
        ...(of === undefined ? {} : { spec: of }),
        ...(reason === undefined ? {} : { failure: ofReason(reason) }),
      },
      ({ entry }) => `/p/discovery/${entry}`,
    );

  it('is its mounted disk, once that was found to be away or to fail', () => {
    expect(why(undefined, spec)).toBeUndefined();
    expect(why('pool-unavailable', spec)).toEqual({ on: 'unusable disk', mountPoint });
    expect(why('host-failure', spec)).toEqual({ on: 'failing disk', mountPoint });
  });

  it.each<Reason>(['in-use', 'busy', 'cancelled'])('is nothing that lasts where its disk is %s', (reason) => {
    expect(why(reason, spec)).toBeUndefined();
  });

  it('is a record that says no more which disk it was', () => {
    expect(why('data-loss')).toEqual({ on: 'record' });
    expect(why('host-failure')).toBeUndefined();
  });

  it('is nothing of its own where it lies in the pool', () => {
    const { disk: _, ...plain } = spec;
    expect(whyStuck({ spec: plain, failure: ofReason('host-failure') }, () => '')).toBeUndefined();
  });
});
