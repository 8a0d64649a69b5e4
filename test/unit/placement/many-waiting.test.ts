import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NodeFacts } from '../../../src/placement/decide-node.ts';
import { Survey } from '../../../src/placement/survey.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await world.end();
});

describe('claims that wait for room', () => {
  it('are not all looked at again for room that none of them fits into', async () => {
    world.addNodes({ 'node-a': '1Gi', 'node-b': '2Gi' });
    await world.start();
    for (let index = 0; index < 20; index += 1) world.claim(`data-${index}`);
    world.claim('small', { resources: { requests: { storage: '3Gi' } } });
    await world.pass(2_000);
    const looks = vi.spyOn(Survey.prototype, 'factsFor');
    for (const size of ['2Gi', '0', '1500Mi']) {
      world.publish('node-a', size);
      await world.pass(1_000);
    }
    expect(looks.mock.results.map(({ value }) => (value as NodeFacts).claim)).toEqual([]);
    world.publish('node-a', '4Gi');
    await world.pass(1_000);
    expect(looks.mock.results.map(({ value }) => (value as NodeFacts).claim)).toEqual(['shop/small']);
    expect(world.nodeOf('small')).toBe('node-a');
  });

  it('hear of it where a node begins to publish, or ceases to', async () => {
    world.addNodes({ 'node-a': '1Gi', 'node-b': '2Gi' });
    await world.start();
    world.claim();
    await world.pass(0);
    world.api.erase('CSIStorageCapacity', 'loam/csisc-fast-node-b');
    await world.pass(6_000);
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: no node has 5 GiB for class fast: node-b has 2 GiB, node-a has 1 GiB',
      'Warning ProvisioningFailed: no node has 5 GiB for class fast: node-a has 1 GiB, node-b publishes nothing for this class',
    ]);
    const looks = vi.spyOn(Survey.prototype, 'factsFor');
    world.publish('node-b', '1Gi');
    await world.pass(300);
    expect(looks).toHaveBeenCalled();
  });
});

it('a placement that has ended counts no claims, which the next leader counts', async () => {
  world.addNodes({ 'node-a': '1Gi' });
  const placement = await world.start();
  world.claim();
  await world.pass(0);
  placement.measure();
  expect(world.gauges.get('loam_claims_without_room')).toBe(1);
  await world.end();
  expect(world.gauges.get('loam_claims_without_room')).toBe(0);
});
