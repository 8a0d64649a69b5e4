import { describe, expect, it } from 'vitest';
import { reclaiming } from '../../../src/claims/annotations.ts';
import { RaceWorld, type End } from './race-world.ts';

/** What people may do in the middle of an end, whatever undelete refuses: with kubectl nobody is refused. */
const deeds: Record<string, (race: RaceWorld) => void> = {
  'an admin clears claimRef': (race) => {
    race.edit((volume) => void delete volume.spec.claimRef);
    race.addTenant('tenant');
  },
  'the volume is given back by hand': (race) => {
    race.edit((volume) => void (volume.spec.claimRef = { namespace: 'shop', name: 'data' }));
    race.addTenant('data', { volumeName: 'pvc-uid-1' });
  },
  'an undelete that heeds the mark': (race) => {
    if (race.volume?.metadata.annotations?.[reclaiming] !== undefined) return;
    race.edit((volume) => void (volume.spec.claimRef = { namespace: 'shop', name: 'data' }));
    race.addTenant('data', { volumeName: 'pvc-uid-1' });
  },
  'a new tenant waits': (race) => race.addTenant('tenant'),
  'somebody says Retain': (race) => {
    race.edit((volume) => void (volume.spec.persistentVolumeReclaimPolicy = 'Retain'));
  },
};

/** More than any end takes. */
const mostCalls = 7;
const moments = (['before', 'after'] as const).flatMap((when) =>
  Array.from({ length: mostCalls }, (_, call) => [when, call] as const),
);

async function run(
  end: End,
  deed: (race: RaceWorld) => void,
  at: { readonly when: 'before' | 'after'; readonly call: number; readonly lag: number },
): Promise<RaceWorld> {
  const race = new RaceWorld(end);
  let isDone = false;
  await race.release((when, call) => {
    if (!isDone && when === at.when && call === at.call) {
      isDone = true;
      deed(race);
    }
    if (isDone && call >= at.call + at.lag) race.turn();
  });
  await race.world.pass(500);
  // whatever had not come to its end is looked at with everybody quick
  for (let round = 0; round < 3; round += 1) {
    race.turn();
    await race.world.pass(30_000);
  }
  return race;
}

describe.each(['delete', 'recycle'] as const)('the end by %s of a volume', (end) => {
  it.each(Object.entries(deeds))(
    'destroys nobody’s data when %s at any moment',
    async (_name, deed) => {
      for (const [when, call] of moments) {
        for (const lag of [0, 1, 2]) {
          const race = await run(end, deed, { when, call, lag });
          const what = `${when} call ${call}, ${lag} later`;
          expect(race.violations, what).toEqual([]);
          // the loop comes to rest: nobody is left marked, and no PV stands for nothing without being deleted
          const { volume, world } = race;
          expect(race.robbed(), what).toEqual([]);
          if (volume?.metadata.deletionTimestamp === undefined)
            expect(volume?.metadata.annotations?.[reclaiming], what).toBeUndefined();
          if (volume !== undefined && !world.driver.volumes.has('pvc-uid-1')) {
            expect(volume.metadata.deletionTimestamp, what).toBeDefined();
            expect(volume.metadata.finalizers, what).toEqual(['kubernetes.io/pv-protection']);
            expect(world.events().join(), what).toMatch(/Warning VolumeLost: .*make it anew/);
          }
          await world.end();
        }
      }
    },
    30_000,
  );
});

describe('whoever gets a PV after its mark', () => {
  it('is told when its data is gone, and the PV goes with his claim', async () => {
    const race = new RaceWorld('delete');
    await race.release(() => {});
    race.world.driver.removing.add('pvc-uid-1');
    await race.world.pass(0);
    expect(race.volume?.metadata.annotations?.[reclaiming]).toBe('uid-1');
    race.edit((volume) => void delete volume.spec.claimRef);
    race.addTenant('tenant');
    race.turn();
    await race.world.pass(0);
    const lost = race.world.api.all('Event').filter(({ reason }) => reason === 'VolumeLost');
    expect(lost.find(({ involvedObject }) => involvedObject.name === 'tenant')?.message).toBe(
      'PersistentVolume pvc-uid-1 was being deleted when its claimRef or its policy was changed: its data is not there any more, and the PersistentVolume goes too; delete the claim that has it and make it anew',
    );
    expect(race.volume?.metadata.deletionTimestamp).toBeUndefined();
    race.world.driver.finishRemoval('pvc-uid-1');
    await race.world.pass(0);
    expect(race.volume?.metadata.deletionTimestamp).toBeDefined();
    expect(race.volume?.metadata.finalizers).toEqual(['kubernetes.io/pv-protection']);
    await race.world.end();
  });

  it('is not bound any more when the PV is being deleted by then', async () => {
    const race = new RaceWorld('delete');
    await race.release(() => {});
    race.world.driver.removing.add('pvc-uid-1');
    await race.world.pass(0);
    race.edit((volume) => void delete volume.spec.claimRef);
    race.world.driver.finishRemoval('pvc-uid-1');
    await race.world.pass(0);
    expect(race.volume).toBeUndefined();
    await race.world.end();
  });

  it('is told that it begins empty where it was being recycled, and can have it then', async () => {
    const race = new RaceWorld('recycle');
    await race.release(() => {});
    race.world.driver.removing.add('pvc-uid-1');
    await race.world.pass(0);
    race.edit((volume) => void delete volume.spec.claimRef);
    race.addTenant('tenant');
    race.turn();
    await race.world.pass(0);
    expect(race.volume?.metadata.annotations?.[reclaiming]).toBe('uid-1');
    race.world.driver.finishRemoval('pvc-uid-1');
    await race.world.pass(0);
    expect(race.volume?.metadata.annotations?.[reclaiming]).toBeUndefined();
    expect(race.world.driver.recycling.size).toBe(0);
    expect(race.world.events().join()).toMatch(
      /VolumeEmptied: PersistentVolume pvc-uid-1 was being recycled .* it begins empty/,
    );
    await race.world.end();
  });

  it.each(['the tenant of before', 'another tenant', 'nobody'])(
    'gets an empty volume, for %s, where the mark was taken off by hand while it was being emptied',
    async (whose) => {
      const race = new RaceWorld('recycle');
      await race.release(() => {});
      const { world } = race;
      world.driver.removing.add('pvc-uid-1');
      await world.pass(0);
      expect([...world.driver.recycling]).toEqual(['pvc-uid-1']);
      if (whose !== 'nobody') race.addTenant(whose === 'another tenant' ? 'tenant' : 'data');
      race.edit((volume) => {
        delete volume.metadata.annotations?.[reclaiming];
        delete volume.spec.claimRef;
      });
      race.turn();
      world.driver.finishRemoval('pvc-uid-1');
      await world.pass(5_000);
      expect([...world.driver.recycling]).toEqual([]);
      const claim = whose === 'nobody' ? undefined : whose === 'another tenant' ? 'tenant' : 'data';
      expect(race.volume?.spec.claimRef?.name).toBe(claim);
      expect(race.volume?.metadata.annotations?.[reclaiming]).toBeUndefined();
      const emptied = world.api.all('Event').filter(({ reason }) => reason === 'VolumeEmptied');
      expect(emptied.map(({ involvedObject }) => involvedObject.name)).toEqual([claim ?? 'pvc-uid-1']);
      await world.end();
    },
  );

  it('is found and finished by the process that comes after', async () => {
    const race = new RaceWorld('recycle');
    await race.release(() => {});
    const { world } = race;
    world.driver.removing.add('pvc-uid-1');
    await world.pass(0);
    await world.end();
    race.edit((volume) => {
      delete volume.metadata.annotations?.[reclaiming];
      delete volume.spec.claimRef;
    });
    race.turn();
    world.driver.finishRemoval('pvc-uid-1');
    await world.start();
    await world.pass(0);
    expect([...world.driver.recycling]).toEqual([]);
    await world.end();
  });

  it('keeps what he wrote where the emptying was over before anybody looked', async () => {
    const race = new RaceWorld('recycle');
    await race.release(() => {});
    const { world } = race;
    world.driver.removing.add('pvc-uid-1');
    await world.pass(0);
    race.edit((volume) => {
      delete volume.metadata.annotations?.[reclaiming];
      delete volume.spec.claimRef;
    });
    // between the look at the records and the call, somebody else finishes, and a tenant writes
    world.api.before('get', 'PersistentVolume', () => {
      world.driver.recycling.clear();
      world.driver.removing.clear();
      race.addTenant('tenant');
      race.turn();
    });
    await world.pass(5_000);
    expect(race.written.get('pvc-uid-1')).toBe('uid-of-tenant');
    expect(race.violations).toEqual([]);
    await world.end();
  });

  it('is told that it is empty where it had just been emptied and not yet offered', async () => {
    const race = new RaceWorld('recycle');
    race.world.driver.onRecycle = () => {
      race.world.api.before('patch', 'PersistentVolume', () => {
        race.edit((volume) => void (volume.spec.claimRef = { namespace: 'shop', name: 'data' }));
        race.addTenant('data', { volumeName: 'pvc-uid-1' });
      });
    };
    await race.release(() => {});
    await race.world.pass(5_000);
    expect(race.volume?.metadata.annotations?.[reclaiming]).toBeUndefined();
    expect(race.volume?.spec.claimRef).toEqual({ namespace: 'shop', name: 'data' });
    expect(race.world.events().join()).toMatch(/Warning VolumeEmptied: .* it begins empty/);
    await race.world.end();
  });

  it('keeps his mark where the pool is not there, until it is', async () => {
    const race = new RaceWorld('delete');
    await race.release(() => {});
    race.world.driver.inUse.add('pvc-uid-1');
    await race.world.pass(0);
    const held = race.world.driver.volumes.get('pvc-uid-1');
    if (held === undefined) throw new Error('no volume');
    const rooms = race.world.driver.poolRooms;
    race.world.driver.poolRooms = [];
    race.world.driver.volumes.delete('pvc-uid-1');
    race.edit((volume) => void (volume.spec.persistentVolumeReclaimPolicy = 'Retain'));
    await race.world.pass(60_000);
    expect(race.volume?.metadata.annotations?.[reclaiming]).toBe('uid-1');
    expect(race.volume?.metadata.deletionTimestamp).toBeUndefined();
    race.world.driver.poolRooms = rooms;
    race.world.driver.volumes.set('pvc-uid-1', held);
    await race.world.pass(5 * 60_000);
    expect(race.volume?.metadata.annotations?.[reclaiming]).toBeUndefined();
    expect(race.world.driver.volumes.size).toBe(1);
    await race.world.end();
  });
});
