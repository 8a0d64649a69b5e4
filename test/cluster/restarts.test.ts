import { afterEach, describe, expect, it } from 'vitest';
import { removeAll } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { claimOf, podOf } from '../support/pods.ts';
import {
  clusterScript,
  loamPid,
  nodesOfCluster,
  onNode,
  RealCluster,
  whyNoCluster,
} from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const classes = ['loam', 'loam-directory'] as const;

/** where the writers run */
const node = 'node-b';

/** Two pods of one node, a class each, that wrote a line and hold a file open. */
async function writers(): Promise<void> {
  const first =
    '{ [ -f /data/log ] || echo one > /data/log; } && date >> /data/ticks && (while sleep 0.2; do date >> /data/ticks; done &)';
  await cluster.apply(
    ...classes.flatMap((className) => [
      claimOf(className, { className }),
      podOf(`on-${className}`, className, { first, node }),
    ]),
  );
  for (const className of classes) await cluster.untilRunning(`on-${className}`);
}

async function expectWritersAtWork(): Promise<void> {
  const grows = 'a=$(wc -c < /data/ticks); sleep 1; [ $(wc -c < /data/ticks) -gt $a ] && echo grew';
  const found = await Promise.all(
    classes.map((className) =>
      Promise.all([
        cluster.sh(`on-${className}`, `cat /data/log; ${grows}`),
        cluster.field('pod', `on-${className}`, '.status.containerStatuses[0].restartCount'),
      ]),
    ),
  );
  expect(found).toEqual(classes.map(() => ['one\ngrew', '0']));
}

describe.skipIf(why !== undefined)(`restarts around pods${why === undefined ? '' : ` (${why})`}`, () => {
  afterEach(async () => {
    // a test that failed in the middle may have left it away
    await cluster.startLoam();
    await removeAll(cluster);
  });

  it('leaves running pods and their volumes alone when kubelet is started anew', async () => {
    await writers();
    await clusterScript('restart', 'kubelet', node);
    await cluster.untilField('csinode', node, '.spec.drivers[*].name', 'loam.dev');
    for (const className of classes) await cluster.untilReachable(`on-${className}`);
    await expectWritersAtWork();
    // the volumes that kubelet found again can still be unmounted: removeAll shows it
  });

  it('leaves running pods and their volumes alone when Loam is killed', async () => {
    await writers();
    await cluster.killLoam(node);
    await expectWritersAtWork();
    await cluster.untilLoamReady();
    await expectWritersAtWork();
    await cluster.apply(podOf('second', 'loam'));
    await cluster.untilRunning('second');
    expect(await cluster.sh('second', 'cat /data/log')).toBe('one');
  });

  it('leaves running pods and their volumes alone when Loam is replaced by another version', async () => {
    await writers();
    const before = loamPid(node);
    await cluster.kubectl(['--namespace=loam-system', 'rollout', 'restart', 'daemonset/loam-node']);
    await cluster.kubectl([
      '--namespace=loam-system',
      'rollout',
      'status',
      'daemonset/loam-node',
      '--timeout=90s',
    ]);
    expect(loamPid(node)).not.toBe(before);
    await expectWritersAtWork();
    await cluster.apply(podOf('second', 'loam-directory'));
    await cluster.untilRunning('second');
    expect(await cluster.sh('second', 'cat /data/log')).toBe('one');
  });

  it('starts a pod that was waiting while Loam was down, once it is back', async () => {
    await cluster.apply(claimOf('early'), podOf('maker', 'early', { first: 'echo one > /data/log' }));
    await cluster.untilRunning('maker');
    await cluster.remove('pod', 'maker');
    await cluster.stopLoam();
    await cluster.apply(podOf('waiting', 'early'), claimOf('new'), podOf('also-waiting', 'new'));
    await cluster.untilEvent('waiting', /FailedMount/);
    expect(await cluster.field('pod', 'waiting', '.status.phase')).toBe('Pending');
    expect(loamPid(node)).toBeUndefined();
    await cluster.startLoam();
    await cluster.untilRunning('waiting', 150_000);
    await cluster.untilRunning('also-waiting');
    expect(await cluster.sh('waiting', 'cat /data/log')).toBe('one');
  });

  it('ends a pod that was deleted while Loam was down, once it is back', async () => {
    await writers();
    await cluster.stopLoam();
    await cluster.kubectl(['delete', 'pod', 'on-loam', 'on-loam-directory', '--wait=false']);
    await cluster.untilField('pod', 'on-loam', '.status.containerStatuses[0].ready', 'false');
    expect(await cluster.field('pod', 'on-loam', '.metadata.name')).toBe('on-loam');
    await cluster.startLoam();
    await cluster.untilField('pod', 'on-loam', '.metadata.name', '', 150_000);
  });

  it('goes on after the API server was away', async () => {
    await writers();
    await clusterScript('restart', 'kube-apiserver');
    await cluster.kubectl(['wait', '--for=condition=Ready', 'node', '--all', '--timeout=60s']);
    await cluster.apply(claimOf('later'), podOf('after', 'later', { first: 'echo new > /data/log' }));
    await cluster.untilRunning('after');
    await expectWritersAtWork();
  });

  it(
    'finishes a burst in whose middle the API server was away for a minute',
    { timeout: 400_000 },
    async () => {
      const awayMs = 60_000;
      const names = Array.from({ length: 12 }, (_, index) => `burst-${index}`);
      await writers();
      const uid = await cluster.field('pod', 'on-loam', '.metadata.uid');
      const ticksPath = `/var/lib/kubelet/pods/${uid}/volumes/kubernetes.io~csi/${await cluster.field('pvc', 'loam', '.spec.volumeName')}/mount/ticks`;
      const ticks = async () => Number(await onNode(node, 'stat', '--format=%s', ticksPath));
      await cluster.apply(
        ...names.flatMap((name) => [
          claimOf(name, { className: 'loam-directory' }),
          podOf(name, name, { first: 'hostname > /data/name' }),
        ]),
      );
      await cluster.untilField('pvc', 'burst-0', '.status.phase', 'Bound');
      const pids = nodesOfCluster().map(loamPid);
      await clusterScript('stop', 'kube-apiserver');
      const endMs = performance.now() + awayMs;
      while (performance.now() < endMs) {
        const before = await ticks();
        await eventually('the writer to go on writing', async () => (await ticks()) > before, 15_000, 200);
      }
      expect(nodesOfCluster().map(loamPid)).toEqual(pids);
      await clusterScript('start', 'kube-apiserver');
      const backMs = performance.now();
      const seconds = () => Math.round((performance.now() - backMs) / 1000);
      const bound = names.map((name) => cluster.untilField('pvc', name, '.status.phase', 'Bound', 150_000));
      await Promise.all(bound);
      console.log(`all claims Bound ${seconds()} s after the API server was back`);
      await Promise.all(names.map((name) => cluster.untilRunning(name, 150_000)));
      console.log(`all pods ready ${seconds()} s after the API server was back`);
      for (const name of names) expect(await cluster.sh(name, 'cat /data/name')).toBe(name);
      await expectWritersAtWork();
    },
  );

  it('brings pods back with their data when the node was without power', async () => {
    await writers();
    await Promise.all(classes.map((className) => cluster.sh(`on-${className}`, 'sync')));
    await clusterScript('reboot', node);
    await cluster.untilLoamReady();
    for (const className of classes) {
      await cluster.untilField(
        'pod',
        `on-${className}`,
        '.status.containerStatuses[0].restartCount',
        '1',
        150_000,
      );
      await cluster.untilRunning(`on-${className}`, 150_000);
      expect(await cluster.sh(`on-${className}`, 'cat /data/log')).toBe('one');
    }
  });
});
