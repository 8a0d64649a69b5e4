import { afterEach, describe, expect, it } from 'vitest';
import { buildTombstone } from '../../../src/claims/tombstone.ts';
import { ApiError } from '../../../src/kube/api-error.ts';
import { Life } from '../provisioner/life.ts';
import { boundClaim, minuteMs, World } from './world.ts';

let world: World;
afterEach(() => world.end());

async function lostFor(minutes: number): Promise<void> {
  world.loseNode();
  await world.start();
  await world.pass(minutes * minuteMs);
  await world.passSteps();
}

describe('recreate-empty', () => {
  it('makes the claim anew in the order that the protections allow, and says what was lost', async () => {
    world = new World('recreate-empty 10m');
    world.addPod('other', 'node-a', 'logs');
    world.addPod('db-1', 'node-b', 'data-1');
    world.addPod('same-name', 'node-a', 'data', {
      metadata: { name: 'same-name', namespace: 'bank', uid: 'u' },
    });
    await lostFor(10);
    expect(world.writes()).toEqual([
      'patch PersistentVolume',
      'create ConfigMap',
      'remove PersistentVolumeClaim',
      'remove Pod grace 0',
      'remove PersistentVolume',
      'patch PersistentVolume',
      'create PersistentVolumeClaim',
      'patch ConfigMap',
    ]);
    const claim = world.claim();
    expect(claim?.metadata.uid).not.toBe('uid-1');
    expect(claim?.metadata.labels).toEqual({ app: 'db' });
    expect(claim?.metadata.annotations).toEqual({ team: 'blue' });
    const { volumeName: _, ...spec } = boundClaim().spec;
    expect(claim?.spec).toEqual(spec);
    expect(world.api.all('Pod').map(({ metadata }) => metadata.name)).toEqual(['other', 'db-1', 'same-name']);
    expect(world.tombstones()).toEqual([
      expect.objectContaining({ recreate: 'done', erase: 'yes', claimUid: 'uid-1' }),
    ]);
    expect(world.tombstones()[0]).not.toHaveProperty('claim');
    expect(world.events().join('\n')).toMatch(
      /RecreatedEmpty: node node-a has been gone .* made anew, empty\. Lost to it is all that was in volume pvc-uid-1 of pool pool-1 on node node-a/,
    );
  });

  it('leaves a claim of a data source that source, so that it is restored again', async () => {
    world = new World('recreate-empty 10m');
    const dataSource = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'monday' };
    world.api.edit('PersistentVolumeClaim', 'shop/data', ({ spec }) => void (spec.dataSource = dataSource));
    await lostFor(10);
    expect(world.claim()?.spec.dataSource).toEqual(dataSource);
    expect(world.events().join()).toContain('made anew, from VolumeSnapshot monday');
  });

  it('is content where a StatefulSet was faster', async () => {
    world = new World('recreate-empty 10m');
    world.api.before('create', 'PersistentVolumeClaim', () =>
      world.api.put(
        'PersistentVolumeClaim',
        boundClaim({ metadata: { uid: 'sts', annotations: {} }, spec: {} }),
      ),
    );
    await lostFor(10);
    expect(world.claim()?.metadata.uid).toBe('sts');
    expect(world.tombstones()).toEqual([expect.objectContaining({ recreate: 'done' })]);
  });

  it('makes none of a generic ephemeral volume, which its pod brings itself', async () => {
    world = new World('recreate-empty 10m');
    world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => {
      metadata.ownerReferences = [
        { apiVersion: 'v1', kind: 'Pod', name: 'db-0', uid: 'uid-db-0', controller: true },
      ];
    });
    world.api.edit('Pod', 'shop/db-0', ({ spec }) => void (spec && (spec.volumes = [{ name: 'v' }])));
    await lostFor(10);
    expect(world.claim()).toBeUndefined();
    expect(world.api.all('Pod')).toEqual([]);
    expect(world.writes()).not.toContain('create PersistentVolumeClaim');
  });

  it('keeps a PV that is to be retained, and makes the claim anew all the same', async () => {
    world = new World('recreate-empty 10m', { spec: { persistentVolumeReclaimPolicy: 'Retain' } });
    await lostFor(10);
    expect(world.volume()?.status?.phase).toBe('Released');
    world.expectVolumeStays();
    expect(world.claim()?.metadata.uid).not.toBe('uid-1');
    expect(world.tombstones()).toEqual([]);
  });

  it('does not force pods of a node that is there and only lacks the disk', async () => {
    world = new World('recreate-empty 10m');
    world.annotate({ 'loam.dev/pool-missing': new Date(world.clock.nowMs() - 20 * minuteMs).toISOString() });
    await world.start();
    await world.passSteps();
    expect(world.writes()).toContain('remove Pod');
    expect(world.writes()).not.toContain('remove Pod grace 0');
    expect(world.claim()?.metadata.uid).not.toBe('uid-1');
  });

  it('waits where nobody sees yet that the claim is gone', async () => {
    world = new World('recreate-empty 10m');
    world.control = () => {};
    await lostFor(10);
    expect(world.claim()?.metadata.deletionTimestamp).toBeDefined();
    world.expectVolumeStays();
  });

  it('gives up where the namespace goes', async () => {
    world = new World('recreate-empty 10m');
    const text = 'unable to create new content in namespace shop because it is being terminated';
    world.api.fail('create', 'PersistentVolumeClaim', new ApiError(403, 'Forbidden', text));
    await lostFor(10);
    expect(world.claim()).toBeUndefined();
    expect(world.tombstones()).toEqual([expect.objectContaining({ recreate: 'done' })]);
  });

  it('goes on for as long as a quota is in the way', async () => {
    world = new World('recreate-empty 10m');
    world.api.fail('create', 'PersistentVolumeClaim', new ApiError(403, 'Forbidden', 'exceeded quota'), {
      times: 4,
    });
    await lostFor(10);
    await world.passSteps();
    expect(world.claim()?.metadata.uid).not.toBe('uid-1');
  });
});

describe('a node that comes back in the middle of recreate-empty', () => {
  const comeBack = (): void => {
    if (world.api.peek('Node', 'node-a') === undefined) world.returnNode();
  };

  it('before its claim is deleted keeps claim, pod and PV, and the tombstone goes', async () => {
    world = new World('recreate-empty 10m');
    world.api.before('create', 'ConfigMap', comeBack);
    await lostFor(10);
    expect(world.claim()?.metadata).toMatchObject({ uid: 'uid-1' });
    expect(world.claim()?.metadata.deletionTimestamp).toBeUndefined();
    expect(world.api.all('Pod')).toHaveLength(1);
    expect(world.tombstones()).toEqual([]);
    expect(world.mark()).toBeUndefined();
  });

  it('before its pods are ended keeps them; once they have ended by themselves the claim is made anew', async () => {
    world = new World('recreate-empty 10m');
    world.api.before('remove', 'PersistentVolumeClaim', comeBack);
    await lostFor(10);
    expect(world.claim()?.metadata.deletionTimestamp).toBeDefined();
    expect(world.api.all('Pod')).toHaveLength(1);
    world.api.erase('Pod', 'shop/db-0');
    await world.passSteps();
    expect(world.claim()?.metadata.uid).not.toBe('uid-1');
    // its own process reclaims it, as any
    expect(world.volume()?.status?.phase).toBe('Released');
    world.expectVolumeStays();
    expect(world.tombstones()).toEqual([]);
  });

  it('between two pods keeps the second', async () => {
    world = new World('recreate-empty 10m');
    world.addPod('db-shared', 'node-a');
    world.api.before('remove', 'Pod', comeBack);
    await lostFor(10);
    expect(world.api.all('Pod')).toHaveLength(1);
  });
});

describe('a claim that another installation in the same namespace has yet to make anew', () => {
  it('is left to it', async () => {
    world = new World();
    const stone = {
      driverName: 'other.dev',
      volumeId: 'v',
      poolUuid: 'p',
      topologyValue: 'node-a',
      volumeName: 'pv-of-other',
      volumeUid: 'u',
      claim: { namespace: 'shop', name: 'theirs', uid: 'c' },
      letGoAt: '',
      why: '',
      mayErase: true,
      recreation: 'pending',
      manifest: { metadata: { namespace: 'shop', name: 'theirs' }, spec: {} },
    } as const;
    world.api.put('ConfigMap', buildTombstone(stone, 'loam'));
    await world.start();
    await world.passSteps();
    expect(world.writes()).toEqual([]);
  });
});

/** Calls that change something, and those whose answers decide. */
const calls = ['create', 'patch', 'remove', 'get', 'list'];

describe('a controller that is killed', () => {
  for (const diesAfterEffect of [false, true]) {
    it(`${diesAfterEffect ? 'after' : 'before'} the effect of any of its calls leaves what the next one ends`, async () => {
      let steps = 0;
      for (let isOver = true; isOver && steps < 120; steps += 1) {
        world = new World('recreate-empty 10m');
        world.addPod('db-shared', 'node-a');
        world.loseNode();
        const life = new Life(steps, diesAfterEffect);
        await world.start(life.wrap(world.api, calls));
        await world.pass(10 * minuteMs);
        await world.passSteps(3);
        isOver = life.isOver;
        await world.start();
        await world.pass(10 * minuteMs);
        await world.passSteps();
        const at = `killed after ${steps} calls`;
        expect(world.claim()?.metadata.uid, at).not.toBe('uid-1');
        expect(world.claim(), at).toBeDefined();
        expect(world.claim()?.metadata.labels, at).toEqual({ app: 'db' });
        expect(world.volume(), at).toBeUndefined();
        expect(world.api.all('Pod'), at).toEqual([]);
        expect(world.tombstones(), at).toEqual([expect.objectContaining({ recreate: 'done', erase: 'yes' })]);
        expect(world.events().join(), at).toContain('RecreatedEmpty');
        await world.end();
      }
      console.log(`${steps} lives`);
      expect(steps).toBeGreaterThan(25);
    });
  }

  it('loses nothing where each of its calls fails once', async () => {
    for (const kind of ['PersistentVolume', 'PersistentVolumeClaim', 'ConfigMap', 'Pod', 'Node'] as const) {
      for (const verb of ['create', 'patch', 'remove', 'get', 'list'] as const) {
        for (const afterEffect of [false, true]) {
          world = new World('recreate-empty 10m');
          world.loseNode();
          await world.start();
          const error = new ApiError(500, 'InternalError', 'told to');
          world.api.fail(verb, kind, error, { times: 2, afterEffect });
          await world.pass(10 * minuteMs);
          await world.passSteps();
          const at = `${verb} ${kind} ${afterEffect}`;
          expect(world.claim()?.metadata.labels, at).toEqual({ app: 'db' });
          expect(world.claim()?.metadata.uid, at).not.toBe('uid-1');
          expect(world.volume(), at).toBeUndefined();
          await world.end();
        }
      }
    }
  });
});
