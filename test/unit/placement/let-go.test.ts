import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { aNode } from './builders.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
  world.addNodes({ 'node-a': '10Gi', 'node-b': '9Gi' });
});
afterEach(() => world.end());

const turn = (status: string) =>
  world.api.edit('Node', 'node-a', (node) => {
    const lastTransitionTime = new Date(world.clock.nowMs()).toISOString();
    node.status = { conditions: [{ type: 'Ready', status, lastTransitionTime }] };
  });

describe('a claim whose node is away', () => {
  it.each(['not ready', 'without the driver'])(
    'waits for the whole limit again where the scheduler selects that node once more (%s)',
    async (trouble) => {
      await world.start();
      if (trouble === 'not ready') turn('Unknown');
      else world.api.erase('CSINode', 'node-a');
      await world.pass(600_000);
      world.claim('data', { storageClassName: 'wait' });
      // as for a DaemonSet's pod, which is for this node and no other
      for (let second = 0; second < 600; second += 1) {
        if (world.nodeOf() === undefined) world.select('data', 'node-a');
        await world.pass(1_000);
      }
      expect(world.events().length).toBeGreaterThan(0);
      expect(world.events().length).toBeLessThan(3);
    },
  );

  it('is let go soon after a new leader begins, which need not have seen the node go', async () => {
    turn('Unknown');
    world.claim('data', { storageClassName: 'wait' }, 'node-a');
    await world.pass(400_000);
    await world.start();
    await world.pass(1_000);
    expect(world.nodeOf()).toBeUndefined();
  });

  it('stays where the API server says that the node is ready again, though the watch does not', async () => {
    await world.start();
    world.claim('data', { storageClassName: 'wait' }, 'node-a');
    turn('Unknown');
    await world.pass(299_000);
    world.api.before('get', 'PersistentVolumeClaim', () => turn('True'));
    await world.pass(60_000);
    expect(world.nodeOf()).toBe('node-a');
    expect(world.events()).toEqual([]);
  });

  it('is given the whole limit by a node made anew of which only a new list tells', async () => {
    world.claim('data', { storageClassName: 'wait' }, 'node-a');
    await world.start();
    world.api.erase('CSINode', 'node-a');
    await world.pass(250_000);
    world.api.goDeaf();
    await world.pass(0);
    world.api.erase('Node', 'node-a');
    world.api.put('Node', { ...aNode('node-a'), metadata: { name: 'node-a', uid: 'node-2' } });
    world.api.fail('watch', 'Node', new ApiError(410, 'Expired', 'too old'));
    world.api.hearAgain();
    await world.pass(240_000);
    expect(world.nodeOf()).toBe('node-a');
  });
});
