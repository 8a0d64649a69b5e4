import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { poolPath, removeAll } from '../support/cluster-leftovers.ts';
import { installWith, replaceArguments, replaceDriver } from '../support/loam-settings.ts';
import { inlinePodOf } from '../support/pods.ts';
import { assertPoolEmpty } from '../support/pool-leftovers.ts';
import { clusterScript, folderOfNode, onNode, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const node = 'node-b';
const switchedOn = 'inline.maxSize=64Mi';
/** the pod's first container, and each after it, adds a line */
const note = { node, first: 'echo started >> /data/log' };

describe.skipIf(why !== undefined)(
  `volumes that pods describe themselves${why === undefined ? '' : ` (${why})`}`,
  () => {
    afterEach(() => removeAll(cluster));
    afterAll(() => installWith(cluster));

    it('are off as Loam is installed, and kubelet says so', async () => {
      await cluster.apply(inlinePodOf('early', { size: '32Mi' }, note));
      const event = await cluster.untilEvent('early', /FailedMount/);
      console.log(event);
      expect(event).toMatch(/"Ephemeral" not supported by driver loam\.dev/);
      expect(await cluster.field('pod', 'early', '.status.phase')).toBe('Pending');
    });

    it(
      'are refused with the flag to set where only the CSIDriver allows them, and start once it is set',
      { timeout: 300_000 },
      async () => {
        await replaceDriver(cluster, switchedOn);
        await cluster.apply(inlinePodOf('early', { size: '32Mi' }, note));
        const event = await cluster.untilEvent('early', /--inline-max-size/);
        console.log(event);
        expect(event).toMatch(/^FailedMount: .*switched off.*generic ephemeral volume/);
        await assertPoolEmpty(folderOfNode(node, poolPath));
        await replaceArguments(cluster, switchedOn);
        await cluster.untilRunning('early', 150_000);
        expect(await cluster.sh('early', 'cat /data/log')).toBe('started');
      },
    );

    it('have the size that the pod says, need no PV, and go with the pod', async () => {
      const beganMs = performance.now();
      await cluster.apply(inlinePodOf('sized', { size: '32Mi' }, note));
      await cluster.untilRunning('sized');
      console.log(`pod with an inline volume ready after ${Math.round(performance.now() - beganMs)} ms`);
      const answer = await cluster.sh('sized', 'dd if=/dev/zero of=/data/big bs=1M count=64 2>&1; true');
      expect(answer).toMatch(/No space left on device/);
      expect(Number(await cluster.sh('sized', 'stat -c %s /data/big'))).toBeLessThan(32 * 2 ** 20);
      expect(await cluster.kubectl(['get', 'pv', '--output=name'])).toBe('');
      expect((await onNode(node, 'ls', `${poolPath}/volumes`)).split('\n')).toHaveLength(1);
      await cluster.remove('pod', 'sized');
      await assertPoolEmpty(folderOfNode(node, poolPath), 20_000);
    });

    it.each([
      ['more than the administrator allows', { size: '65Mi' }, /64Mi here, size asks for 65Mi.*ask for less/],
      ['no size', { mode: '0777' }, /attribute size is missing/],
      [
        'what a class says',
        { size: '32Mi', provisioning: 'thick' },
        /provisioning is an administrator's choice/,
      ],
    ])('are refused with a message for %s', async (_, attributes, message) => {
      await cluster.apply(inlinePodOf('greedy', attributes, note));
      expect(await cluster.untilEvent('greedy', message)).toMatch(/^FailedMount/);
      expect(await cluster.field('pod', 'greedy', '.status.phase')).toBe('Pending');
      await assertPoolEmpty(folderOfNode(node, poolPath));
    });

    it('keep their data when the container ends, when Loam is killed, and when the node was without power', async () => {
      await cluster.apply(inlinePodOf('keeper', { size: '32Mi' }, note));
      await cluster.untilRunning('keeper');
      const restarts = (count: string) =>
        cluster.untilField('pod', 'keeper', '.status.containerStatuses[0].restartCount', count, 150_000);
      await cluster.sh('keeper', 'kill 1');
      await restarts('1');
      await cluster.untilRunning('keeper');
      expect(await cluster.sh('keeper', 'cat /data/log')).toBe('started\nstarted');

      await cluster.killLoam(node);
      await cluster.sh('keeper', 'echo while away >> /data/log && sync');
      await cluster.untilLoamReady();
      expect(await cluster.sh('keeper', 'cat /data/log')).toBe('started\nstarted\nwhile away');

      await clusterScript('reboot', node);
      await cluster.untilLoamReady();
      await restarts('2');
      await cluster.untilRunning('keeper', 150_000);
      expect(await cluster.sh('keeper', 'cat /data/log')).toBe('started\nstarted\nwhile away\nstarted');
    });

    it(
      'stay with the pods that have them when they are switched off, and new ones are refused',
      { timeout: 300_000 },
      async () => {
        await cluster.apply(inlinePodOf('old', { size: '32Mi' }, note));
        await cluster.untilRunning('old');
        await installWith(cluster);
        await cluster.apply(inlinePodOf('new', { size: '32Mi' }, note));
        expect(await cluster.untilEvent('new', /FailedMount/)).toMatch(/not supported by driver/);
        expect(await cluster.sh('old', 'echo still here >> /data/log && sync && cat /data/log')).toBe(
          'started\nstill here',
        );
        await cluster.remove('pods', 'old', 'new');
        await assertPoolEmpty(folderOfNode(node, poolPath), 20_000);
      },
    );
  },
);
