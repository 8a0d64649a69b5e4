import { afterEach, describe, expect, it } from 'vitest';
import { poolPath, removeAll } from '../support/cluster-leftovers.ts';
import { installWith } from '../support/loam-settings.ts';
import { claimOf, freshName, podOf } from '../support/pods.ts';
import { assertPoolEmpty } from '../support/pool-leftovers.ts';
import {
  clusterScript,
  folderOfNode,
  loamPid,
  nodesOfCluster,
  RealCluster,
  whyNoCluster,
} from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const lost = 'node-b';
const others = nodesOfCluster().filter((name) => name !== lost);
const selected = '.metadata.annotations.volume\\.kubernetes\\.io/selected-node';

/** A pod whose claim waits for the node that will be lost, and could be had elsewhere from now on. */
async function waitForLost(claim: string): Promise<void> {
  await cluster.kubectl(['cordon', ...others]);
  await cluster.apply(claimOf(claim), podOf('pod', claim, { first: 'hostname > /data/name' }));
  await cluster.untilField('pvc', claim, selected, lost);
  await cluster.kubectl(['uncordon', ...others]);
}

async function returnLost(): Promise<void> {
  const pid = loamPid(lost);
  if (pid !== undefined) process.kill(pid, 'SIGCONT');
  await clusterScript('start', 'kubelet', lost);
}

async function expectElsewhere(claim: string): Promise<void> {
  await cluster.untilRunning('pod');
  expect(others).toContain(await cluster.nodeOf('pod'));
  expect(await cluster.sh('pod', 'cat /data/name')).toBe('pod');
  expect((await cluster.nodesOfVolumes()).get(`default/${claim}`)).toBe(await cluster.nodeOf('pod'));
}

describe.skipIf(why !== undefined)(
  `claims that wait for a node which is lost${why === undefined ? '' : ` (${why})`}`,
  () => {
    afterEach(async () => {
      await returnLost();
      await cluster.kubectl(['uncordon', ...nodesOfCluster()]);
      await cluster.startLoam();
      await removeAll(cluster);
    }, 300_000);

    it('go to another once the Node is deleted, and the node that comes back is one as any', async () => {
      const claim = freshName('waiting');
      await cluster.stopLoam(lost);
      await waitForLost(claim);
      await clusterScript('stop', 'kubelet', lost);
      const beganMs = performance.now();
      await cluster.kubectl(['delete', 'node', lost, '--wait=false']);
      console.log(await cluster.untilEvent(claim, /NodeUnselected/));
      console.log(`freed ${Math.round(performance.now() - beganMs)} ms after the Node was deleted`);
      await expectElsewhere(claim);
      await clusterScript('start', 'kubelet', lost);
      await cluster.startLoam();
      await cluster.apply(claimOf('again'), podOf('again', 'again', { node: lost }));
      await cluster.untilRunning('again', 120_000);
      const uid = await cluster.field('node', lost, '.metadata.uid');
      const owners = await cluster.kubectl([
        '--namespace=loam-system',
        'get',
        'csistoragecapacities',
        `--selector=loam.dev/node=${lost}`,
        '--output=jsonpath={.items[*].metadata.ownerReferences[0].uid}',
      ]);
      expect(new Set(owners.split(' '))).toEqual(new Set([uid]));
    });

    it(
      'go to another once it has not been ready for long, and what was frozen there makes nothing of it later',
      { timeout: 400_000 },
      async () => {
        const claim = freshName('waiting');
        await installWith(cluster, 'controller.unreachableAfter=10s');
        try {
          await clusterScript('stop', 'kubelet', lost);
          // a machine that stands still, so that nobody else serves the claim there
          process.kill(loamPid(lost) ?? Number.NaN, 'SIGSTOP');
          const beganMs = performance.now();
          const seconds = () => Math.round((performance.now() - beganMs) / 1000);
          await waitForLost(claim);
          await cluster.kubectl(['wait', '--for=condition=Ready=Unknown', `node/${lost}`, '--timeout=110s']);
          console.log(`NotReady after ${seconds()} s`);
          const event = await cluster.untilEvent(claim, /NodeUnselected/, 90_000);
          console.log(`freed after ${seconds()} s: ${event}`);
          expect(event).toMatch(/node node-b has not been ready for 1\d/);
          await expectElsewhere(claim);
          await returnLost();
          await cluster.apply(claimOf('again'), podOf('again', 'again', { node: lost }));
          await cluster.untilRunning('again', 120_000);
          await cluster.remove('pods', 'again');
          await cluster.remove('pvc', 'again');
          const deletedMs = performance.now();
          await assertPoolEmpty(folderOfNode(lost, poolPath), 90_000);
          console.log(
            `a volume of the node that is back was gone after ${Math.round(performance.now() - deletedMs)} ms`,
          );
          await expectElsewhere(claim);
        } finally {
          await returnLost();
          await installWith(cluster);
        }
      },
    );
  },
);
