import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { removeAll, removeRest } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, podOf, signOnce, statefulSetOf } from '../support/pods.ts';
import { loamPid, nodesOfCluster, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const noteOnce = { first: '[ -f /data/name ] || hostname > /data/name' };

function nodesOf(cluster: RealCluster, pods: readonly string[]): Promise<string[]> {
  return Promise.all(pods.map((pod) => cluster.nodeOf(pod)));
}

describe.skipIf(why !== undefined)(
  `sets and sharers on several nodes${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    beforeAll(() => cluster.apply(classOf('shared-by-node', { parameters: { sharing: 'node' } })));
    afterAll(async () => {
      await removeRest(cluster);
      await cluster.remove('storageclass', 'shared-by-node');
    });

    it('keeps the data of a StatefulSet with each replica when all its pods are made anew', async () => {
      await using cluster = await OwnNamespace.open();
      const replicas = ['set-0', 'set-1', 'set-2'];
      await cluster.apply(statefulSetOf('set', { replicas: 3, pod: { first: signOnce }, apart: true }));
      for (const name of replicas) await cluster.untilRunning(name);
      const nodes = await nodesOf(cluster, replicas);
      expect(nodes.toSorted()).toEqual(nodesOfCluster());
      const signs = await Promise.all(replicas.map((name) => cluster.sh(name, 'cat /data/sign')));
      const uids = await Promise.all(replicas.map((name) => cluster.field('pod', name, '.metadata.uid')));
      await cluster.kubectl(['delete', 'pods', ...replicas, '--wait=false']);
      for (const [index, name] of replicas.entries()) {
        await eventually(
          `another pod ${name}`,
          async () => ![uids[index], ''].includes(await cluster.field('pod', name, '.metadata.uid')),
          60_000,
        );
        await cluster.untilRunning(name);
        expect(signs[index]).toMatch(name);
        expect(await cluster.sh(name, 'cat /data/sign')).toBe(signs[index]);
      }
      expect(await nodesOf(cluster, replicas)).toEqual(nodes);
    });

    it.each(['ReadWriteMany', 'ReadOnlyMany'])(
      'brings all pods of a %s claim to the node of its volume where the class shares it by node',
      async (accessMode) => {
        await using cluster = await OwnNamespace.open();
        const pods = ['first', 'second', 'third', 'fourth'];
        await cluster.apply(
          claimOf('many', { className: 'shared-by-node', accessMode }),
          ...pods.map((name) => podOf(name, 'many', { readOnly: accessMode === 'ReadOnlyMany' })),
        );
        for (const name of pods) await cluster.untilRunning(name);
        expect(new Set(await nodesOf(cluster, pods)).size).toBe(1);
        if (accessMode === 'ReadOnlyMany') return;
        for (const name of pods) await cluster.sh(name, 'hostname >> /data/names');
        expect(await cluster.sh('first', 'cat /data/names')).toBe(pods.join('\n'));
      },
    );

    it('refuses a claim of many writers on every node where the class does not share', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(
        ...nodesOfCluster().flatMap((node) => [
          claimOf(`many-${node}`, { accessMode: 'ReadWriteMany' }),
          podOf(`on-${node}`, `many-${node}`, { node }),
        ]),
      );
      for (const node of nodesOfCluster()) {
        expect(await cluster.untilEvent(`many-${node}`, /ProvisioningFailed/)).toMatch(/sharing: node/);
        expect(await cluster.field('pod', `on-${node}`, '.status.phase')).toBe('Pending');
      }
    });
  },
);

describe.skipIf(why !== undefined)(`several nodes${why === undefined ? '' : ` (${why})`}`, () => {
  afterEach(async () => {
    // a test that failed in the middle may have left it otherwise
    await cluster.kubectl(['uncordon', ...nodesOfCluster()]);
    await cluster.startLoam();
    await removeAll(cluster);
  });

  it('lets a pod run where its volume is, and nowhere else', async () => {
    await cluster.apply(claimOf('bound'), podOf('maker', 'bound', { ...noteOnce, node: 'node-b' }));
    await cluster.untilRunning('maker');
    await cluster.remove('pod', 'maker');
    for (const name of ['second', 'third']) {
      await cluster.apply(podOf(name, 'bound'));
      await cluster.untilRunning(name);
      expect(await cluster.nodeOf(name)).toBe('node-b');
      await cluster.remove('pod', name);
    }
    await cluster.kubectl(['cordon', 'node-b']);
    await cluster.apply(podOf('held', 'bound'));
    expect(await cluster.untilEvent('held', /FailedScheduling/)).toMatch(
      /2 node\(s\) .*(?:volume node affinity|PersistentVolume's node affinity)/,
    );
    expect(await cluster.field('pod', 'held', '.status.phase')).toBe('Pending');
    await cluster.kubectl(['uncordon', 'node-b']);
    await cluster.untilRunning('held');
    expect(await cluster.nodeOf('held')).toBe('node-b');
    expect(await cluster.sh('held', 'cat /data/name')).toBe('maker');
  });

  it('holds nothing up on other nodes while Loam is away from one, where pods wait to start and to end', async () => {
    const [absent, other] = ['node-b', 'node-c'];
    await cluster.apply(
      claimOf('early'),
      claimOf('running'),
      podOf('maker', 'early', { ...noteOnce, node: absent }),
      podOf('ending', 'running', { ...noteOnce, node: absent }),
    );
    await cluster.untilRunning('maker');
    await cluster.untilRunning('ending');
    await cluster.remove('pod', 'maker');
    const others = [loamPid('node-a'), loamPid(other)];
    await cluster.stopLoam(absent);
    const uid = await cluster.field('pod', 'ending', '.metadata.uid');
    await cluster.apply(
      podOf('starting', 'early'),
      claimOf('late'),
      podOf('also-starting', 'late', { node: absent }),
    );
    await cluster.kubectl(['delete', 'pod', 'ending', '--wait=false']);

    await cluster.apply(claimOf('elsewhere'), podOf('at-work', 'elsewhere', { ...noteOnce, node: other }));
    await cluster.untilRunning('at-work');
    expect(await cluster.sh('at-work', 'cat /data/name')).toBe('at-work');
    const volume = await cluster.field('pvc', 'elsewhere', '.spec.volumeName');
    await cluster.remove('pod', 'at-work');
    await cluster.remove('pvc', 'elsewhere');
    await cluster.untilField('pv', volume, '.metadata.name', '');

    await cluster.untilEvent('starting', /FailedMount/);
    await cluster.untilField('pod', 'ending', '.status.containerStatuses[0].ready', 'false');
    // it waits for its unmount under its own name, and its volume stays
    expect(await cluster.field('pod', 'ending', '.metadata.uid')).toBe(uid);
    for (const pod of ['starting', 'also-starting']) {
      expect(await cluster.field('pod', pod, '.status.phase')).toBe('Pending');
    }
    expect([loamPid('node-a'), loamPid(other)]).toEqual(others);
    expect(loamPid(absent)).toBeUndefined();

    await cluster.startLoam();
    await cluster.untilRunning('starting', 150_000);
    await cluster.untilRunning('also-starting', 150_000);
    expect(await cluster.nodeOf('starting')).toBe(absent);
    expect(await cluster.sh('starting', 'cat /data/name')).toBe('maker');
    await cluster.untilField('pod', 'ending', '.metadata.name', '', 150_000);
    await cluster.apply(podOf('again', 'running'));
    await cluster.untilRunning('again');
    expect(await cluster.sh('again', 'cat /data/name')).toBe('ending');
  });
});
