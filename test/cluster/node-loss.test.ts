import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poolPath, removeAll } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { loamOn } from '../support/loam-command.ts';
import { installWith } from '../support/loam-settings.ts';
import { classOf, freshName, statefulSetOf } from '../support/pods.ts';
import { assertPoolEmpty } from '../support/pool-leftovers.ts';
import {
  clusterScript,
  folderOfNode,
  kubectlEveryMs,
  nodesOfCluster,
  RealCluster,
  whyNoCluster,
} from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const lost = 'node-b';
const others = nodesOfCluster().filter((name) => name !== lost);
const policies = {
  'loss-keep': {},
  'loss-release': { onNodeLoss: 'release-after 15s' },
  'loss-recreate': { onNodeLoss: 'recreate-empty 15s' },
} as const;
type ClassName = keyof typeof policies;
const classNames = Object.keys(policies) as readonly ClassName[];

interface Replica {
  readonly set: string;
  readonly pod: string;
  readonly claim: string;
  readonly volume: string;
}

/** A set of one pod of each class, on the node that will be lost. */
async function startThere(): Promise<Readonly<Record<ClassName, Replica>>> {
  await cluster.kubectl(['cordon', ...others]);
  const first = 'hostname > /data/name && sync';
  const sets = classNames.map((className) => [className, freshName(className)] as const);
  await cluster.apply(
    ...sets.map(([className, name]) =>
      statefulSetOf(name, { replicas: 1, claim: { className }, pod: { first } }),
    ),
  );
  const replicas = await Promise.all(
    sets.map(async ([className, set]) => {
      const [pod, claim] = [`${set}-0`, `volume-${set}-0`];
      await cluster.untilRunning(pod, 120_000);
      return [
        className,
        { set, pod, claim, volume: await cluster.field('pvc', claim, '.spec.volumeName') },
      ] as const;
    }),
  );
  await cluster.kubectl(['uncordon', ...others]);
  return Object.fromEntries(replicas) as Record<ClassName, Replica>;
}

function tombstones(): Promise<string> {
  return cluster.kubectl([
    '--namespace=loam-system',
    'get',
    'configmaps',
    '--selector=loam.dev/tombstone',
    '--output=jsonpath={.items[*].data.volumeId}',
  ]);
}

/** A pod of a node that is gone never ends by itself. */
async function giveUp({ set, pod, claim }: Replica): Promise<void> {
  await cluster.remove('statefulset', set);
  await cluster.kubectl(['delete', 'pod', pod, '--force', '--ignore-not-found']);
  await cluster.kubectl(['delete', 'pvc', claim, '--wait=false', '--ignore-not-found']);
}

describe.skipIf(why !== undefined)(
  `volumes of a node that is lost${why === undefined ? '' : ` (${why})`}`,
  () => {
    beforeAll(async () => {
      await installWith(cluster, 'controller.nodeLoss=recreate');
      await cluster.apply(...classNames.map((name) => classOf(name, { parameters: policies[name] })));
    });
    afterEach(async () => {
      await clusterScript('start', 'kubelet', lost);
      await cluster.kubectl(['uncordon', ...nodesOfCluster()]);
      await cluster.startLoam();
      await cluster.remove('statefulset', '--all');
      await removeAll(cluster);
    }, 300_000);
    afterAll(async () => {
      await cluster.remove('storageclass', ...classNames);
      await installWith(cluster);
    });

    it(
      'wait for it, are let go, or made anew elsewhere, as their class says; when it returns it puts its disk in order',
      { timeout: 400_000 },
      async () => {
        const sets = await startThere();
        const { 'loss-keep': keep, 'loss-release': release, 'loss-recreate': recreate } = sets;
        await cluster.stopLoam(lost);
        await clusterScript('stop', 'kubelet', lost);
        const beganMs = performance.now();
        const seconds = () => Math.round((performance.now() - beganMs) / 1000);
        await cluster.kubectl(['delete', 'node', lost, '--wait=false']);

        console.log(await cluster.untilEvent(recreate.claim, /RecreatedEmpty/, 120_000));
        await cluster.untilRunning(recreate.pod, 120_000);
        console.log(`made anew and running after ${seconds()} s`);
        expect(others).toContain(await cluster.nodeOf(recreate.pod));
        expect(await cluster.field('pvc', recreate.claim, '.spec.volumeName')).not.toBe(recreate.volume);
        expect(await cluster.sh(recreate.pod, 'cat /data/name')).toBe(recreate.pod);
        // whose claims are alive are left alone
        for (const { claim, volume } of [keep, release])
          expect(await cluster.field('pvc', claim, '.spec.volumeName')).toBe(volume);

        await giveUp(keep);
        await giveUp(release);
        await cluster.untilField('pv', release.volume, '.metadata.name', '', 90_000);
        console.log(await cluster.untilEvent(release.volume, /node-b/));
        expect(await cluster.field('pv', keep.volume, '.status.phase')).toBe('Released');
        expect((await tombstones()).split(' ').toSorted()).toEqual(
          [recreate.volume, release.volume].toSorted(),
        );
        const onDisk = () => readdirSync(`${folderOfNode(lost, poolPath)}/volumes`);
        expect(onDisk().toSorted()).toEqual([keep, release, recreate].map(({ volume }) => volume).toSorted());

        await clusterScript('start', 'kubelet', lost);
        await cluster.startLoam();
        await cluster.untilField('pv', keep.volume, '.metadata.name', '', 90_000);
        await eventually(
          'no tombstone',
          async () => {
            const left = await tombstones();
            if (left !== '') throw new NotYet(left);
            return true;
          },
          90_000,
          kubectlEveryMs,
        );
        await assertPoolEmpty(folderOfNode(lost, poolPath), 60_000);
        expect(await loamOn(cluster, lost, 'gc', '--dry-run')).toMatch(/nothing to do/);
        expect(await cluster.sh(recreate.pod, 'cat /data/name')).toBe(recreate.pod);
      },
    );
  },
);
