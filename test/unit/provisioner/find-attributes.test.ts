import { afterEach, describe, expect, it } from 'vitest';
import { World } from './world.ts';

describe('a claim with a VolumeAttributesClass', () => {
  const world = new World();
  afterEach(() => world.end());

  it('asks the driver with what its VolumeAttributesClass says, and is refused one of another driver', async () => {
    world.api.put('VolumeAttributesClass', {
      metadata: { name: 'gold' },
      driverName: 'loam.dev',
      parameters: { iops: '5' },
    });
    world.api.put('VolumeAttributesClass', { metadata: { name: 'alien' }, driverName: 'other.dev' });
    await world.start();
    world.claim({ spec: { volumeAttributesClassName: 'gold' } });
    world.claim({ metadata: { name: 'b', uid: 'uid-2' }, spec: { volumeAttributesClassName: 'alien' } });
    world.claim({ metadata: { name: 'c', uid: 'uid-3' }, spec: { volumeAttributesClassName: 'absent' } });
    await world.pass(0);
    expect(world.driver.creates.map(({ mutableParameters }) => mutableParameters)).toEqual([{ iops: '5' }]);
    expect(world.volume()?.spec.volumeAttributesClassName).toBe('gold');
    const said = world.events().join('\n');
    expect(said).toMatch(/VolumeAttributesClass alien is of driver other\.dev/);
    expect(said).toMatch(/VolumeAttributesClass absent is not there/);
  });
});
