import { afterEach, describe, expect, it } from 'vitest';
import { lostSince, minuteMs, onNodeLoss, World } from './world.ts';

let world: World;
afterEach(() => world.end());

describe('a node that is not there', () => {
  it('costs a PV nothing whose policy is to wait, for however long', async () => {
    for (const policy of [undefined, 'keep']) {
      world = new World(policy);
      await world.start();
      world.loseNode();
      await world.pass(90 * 24 * 60 * minuteMs);
      expect(world.writes()).toEqual([]);
      expect(world.events()).toEqual([]);
      await world.end();
    }
  });

  it.each([
    ['off', 'release-after 1m', 'release'],
    ['off', 'recreate-empty 1m', 'recreate'],
    ['release', 'recreate-empty 1m', 'recreate'],
  ] as const)(
    'costs a PV nothing while the controller runs with --node-loss=%s and the PV says %s: what it lacks is told',
    async (allowed, policy, wanted) => {
      world = new World(policy);
      world.nodeLoss = allowed;
      await world.start();
      world.loseNode();
      await world.pass(60 * minuteMs);
      expect(world.writes()).toEqual([]);
      expect(world.events()).toHaveLength(1);
      expect(world.events()[0]).toMatch(
        new RegExp(`NodeLossNotAllowed: .*--node-loss=${allowed}, set controller.nodeLoss to ${wanted} in`),
      );
    },
  );

  it('is noted on the PV when it is first missed, and the note goes when it is back in time', async () => {
    world = new World('recreate-empty 10m');
    await world.start();
    world.loseNode();
    await world.pass(0);
    expect(world.mark()).toBe(
      new Date(Math.floor(world.clock.nowMs() / 1000) * 1000).toISOString().replace('.000', ''),
    );
    expect(world.events().join()).toMatch(
      /NodeLost: node node-a has been gone since .* unless it is back within 10m, its claim is made anew/,
    );
    await world.pass(9 * minuteMs);
    world.returnNode();
    await world.pass(0);
    expect(world.mark()).toBeUndefined();
    await world.pass(60 * minuteMs);
    expect(world.writes()).toEqual(['patch PersistentVolume', 'patch PersistentVolume']);
    expect(world.claim()?.metadata.uid).toBe('uid-1');
  });

  it('is lost when the time that stands on the PV is over, though every controller since was a new one', async () => {
    world = new World('release-after 1h');
    await world.start();
    world.loseNode();
    await world.pass(0);
    const since = world.mark();
    world.dropClaim();
    for (let restart = 0; restart < 5; restart += 1) {
      await world.end();
      await world.pass(10 * minuteMs);
      await world.start();
    }
    expect(world.volume()?.status?.phase).toBe('Released');
    expect(world.mark()).toBe(since);
    await world.pass(10 * minuteMs);
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
  });

  it('counts from when its Node says that it was ready last', async () => {
    world = new World('release-after 10m');
    world.dropClaim();
    await world.start();
    world.setReady(false, new Date(world.clock.nowMs() - 8 * minuteMs));
    await world.pass(minuteMs);
    expect(world.volume()).toBeDefined();
    await world.pass(2 * minuteMs);
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
  });

  it('that is not ready, with its process alive, is not lost: it takes the note off', async () => {
    world = new World('recreate-empty 10m');
    await world.start();
    world.setReady(false, new Date(world.clock.nowMs() - 60 * minuteMs));
    for (let minute = 0; minute < 120; minute += 1) {
      await world.pass(1_000);
      if (world.mark() !== undefined) world.takeMarkOff();
      await world.pass(minuteMs - 1_000);
    }
    expect(world.claim()?.metadata.deletionTimestamp).toBeUndefined();
    // asked again each five minutes, and not at once
    expect(world.writes().length).toBeLessThan(30);
    expect(new Set(world.writes())).toEqual(new Set(['patch PersistentVolume']));
  });

  it('counts from when its process was heard last, where that was later than its kubelet', async () => {
    world = new World('release-after 10m');
    world.dropClaim();
    await world.start();
    world.setReady(false, new Date(world.clock.nowMs() - 60 * minuteMs));
    await world.pass(1_000);
    expect(world.mark()).toBeDefined();
    world.takeMarkOff();
    await world.pass(9 * minuteMs);
    expect(world.mark()).toBeDefined();
    world.expectVolumeStays();
    await world.pass(minuteMs);
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
  });

  it('whose driver is registered under the name that its PVs mean is there, whatever its Node is called', async () => {
    world = new World('release-after 1m');
    world.dropClaim();
    world.loseNode();
    const csiNode = {
      metadata: { name: 'ip-10-0-0-1' },
      spec: { drivers: [{ name: 'loam.dev', nodeID: 'node-a' }] },
    };
    world.api.put('CSINode', csiNode);
    await world.start();
    await world.pass(60 * minuteMs);
    expect(world.writes()).toEqual([]);
  });

  it('is left alone where the policy cannot be read, with a warning', async () => {
    for (const policy of [
      'release-after',
      'recreate-empty never',
      'delete',
      'RELEASE-AFTER 1s',
      'release-after 1s; rm',
    ]) {
      world = new World(policy);
      world.dropClaim();
      world.loseNode();
      await world.start();
      await world.pass(24 * 60 * minuteMs);
      expect(world.writes(), policy).toEqual([]);
      expect(world.events().join(), policy).toContain('Warning InvalidNodeLossPolicy');
      await world.end();
    }
  });

  it("is none of this driver's business where the PV is another's", async () => {
    world = new World('release-after 1s', {
      metadata: { annotations: { 'pv.kubernetes.io/provisioned-by': 'other.dev' } },
    });
    world.dropClaim();
    world.loseNode();
    await world.start();
    await world.pass(60 * minuteMs);
    expect(world.writes()).toEqual([]);
  });

  it('is marked anew where the note is no time, so that nonsense does not end the wait', async () => {
    world = new World('release-after 10m');
    world.dropClaim();
    world.loseNode();
    world.annotate({ [lostSince]: 'yesterday' });
    await world.start();
    await world.pass(9 * minuteMs);
    expect(world.mark()).toMatch(/^20/);
    expect(world.volume()).toBeDefined();
  });

  it('is not acted on within ten seconds of a note, however old it says to be: its process may object', async () => {
    world = new World('release-after 1m');
    world.dropClaim();
    world.loseNode();
    world.annotate({ [lostSince]: '2001-01-01T00:00:00Z' });
    await world.start();
    await world.pass(9_000);
    expect(world.volume()).toBeDefined();
    await world.passSteps(1);
    expect(world.volume()).toBeUndefined();
  });
});

describe('a disk that its node has not any more', () => {
  it('counts as a lost node from when the node noted it', async () => {
    world = new World('release-after 5m');
    world.dropClaim();
    world.annotate({ 'loam.dev/pool-missing': new Date(world.clock.nowMs()).toISOString() });
    await world.start();
    await world.pass(4 * minuteMs);
    expect(world.volume()).toBeDefined();
    await world.pass(2 * minuteMs);
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
    expect(world.events().join()).toContain('the disk pool on node node-a has been missing since');
  });

  it('is believed to be there once the node says so, and where the note is nonsense', async () => {
    world = new World('release-after 5m');
    world.dropClaim();
    world.annotate({ 'loam.dev/pool-missing': 'a while ago' });
    await world.start();
    await world.pass(60 * minuteMs);
    expect(world.writes()).toEqual([]);
    expect(world.events().join()).toContain('which is no time');
  });

  it('is not lost where the policy says to wait', async () => {
    world = new World(undefined);
    world.dropClaim();
    world.annotate({ 'loam.dev/pool-missing': '2020-01-01T00:00:00Z' });
    await world.start();
    await world.pass(60 * minuteMs);
    expect(world.writes()).toEqual([]);
    world.annotate({ [onNodeLoss]: 'release-after 1s' });
    await world.passSteps(2);
    expect(world.volume()).toBeUndefined();
  });
});
