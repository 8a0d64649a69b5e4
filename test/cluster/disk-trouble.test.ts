import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { removeAll } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { installWith } from '../support/loam-settings.ts';
import { mountDisk, removeDisk } from '../support/node-disks.ts';
import { claimOf, classOf, podOf } from '../support/pods.ts';
import {
  kubectlEveryMs,
  loamPid,
  nodesOfCluster,
  onNode,
  RealCluster,
  whyNoCluster,
} from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
// another at each run: a node takes no new disk for one that it knows at that place
const path = `/var/disks/small-${process.pid}`;
const withDisk = ['node-a', 'node-b'];
const without = 'node-c';
const pools = [
  'pools[0].name=default',
  'pools[0].path=/var/lib/loam/pool',
  'pools[1].name=small',
  `pools[1].path=${path}`,
  'pools[1].mounted=true',
];

/** What a node publishes for the class of the small pool. */
async function room(node: string): Promise<{ readonly max: string; readonly reason: string }> {
  const text = await cluster.kubectl([
    '--namespace=loam-system',
    'get',
    'csistoragecapacities',
    `--selector=loam.dev/node=${node}`,
    '--output=jsonpath={range .items[?(@.storageClassName=="small")]}{.maximumVolumeSize}|{.metadata.annotations.loam\\.dev/reason}{end}',
  ]);
  const [max = '', reason = ''] = text.split('|');
  return { max, reason };
}

function untilRoom(node: string, isRight: (max: string, reason: string) => boolean): Promise<boolean> {
  return eventually(
    `the right room on ${node}`,
    async () => {
      const { max, reason } = await room(node);
      if (isRight(max, reason)) return true;
      throw new NotYet(`it has ${max} (${reason})`);
    },
    // a reason that changes alone is told once a minute
    90_000,
    kubectlEveryMs,
  );
}

describe.skipIf(why !== undefined)(
  `a disk for volumes that is missing or full${why === undefined ? '' : ` (${why})`}`,
  () => {
    beforeAll(async () => {
      for (const node of withDisk) await mountDisk(node, path);
      await installWith(cluster, ...pools);
      await cluster.apply(
        classOf('small', { parameters: { pool: 'small' } }),
        classOf('small-immediate', { parameters: { pool: 'small' }, volumeBindingMode: 'Immediate' }),
      );
    });

    afterEach(() => removeAll(cluster));

    afterAll(async () => {
      const left = await Promise.all(
        withDisk.map((node) => onNode(node, 'sh', '-c', `ls -A ${path}/volumes ${path}/trash; true`)),
      );
      await cluster.remove('storageclass', 'small', 'small-immediate');
      await installWith(cluster);
      for (const node of nodesOfCluster()) await removeDisk(node, path);
      const nothing = `${path}/trash:\n\n${path}/volumes:`;
      expect(left).toEqual([nothing, nothing]);
    });

    it('is no pool where it is not mounted: that node has room for nothing and says so, the others serve', async () => {
      const advice = `mount the disk at ${path}`;
      await untilRoom(without, (max, reason) => max === '0' && reason.includes(advice));
      for (const node of withDisk) await untilRoom(node, (max) => max !== '' && max !== '0');
      expect(await onNode(without, 'ls', '-A', path)).toBe('');
      await cluster.untilEvent(without, /PoolUnavailable: .*small.*mount the disk/);
      await cluster.apply(
        claimOf('chosen', { className: 'small-immediate' }),
        claimOf('one', { className: 'small' }),
        podOf('writer', 'one', { first: 'echo here > /data/note' }),
      );
      await cluster.untilBound(['chosen']);
      await cluster.untilRunning('writer');
      const nodes = await cluster.nodesOfVolumes();
      expect(withDisk).toContain(nodes.get('default/chosen'));
      expect(withDisk).toContain(await cluster.nodeOf('writer'));
      // the pool that is there goes on serving
      await cluster.apply(claimOf('other'), podOf('beside', 'other', { node: without }));
      await cluster.untilRunning('beside');
      await cluster.apply(
        claimOf('stuck', { className: 'small' }),
        podOf('waiting', 'stuck', { node: without }),
      );
      await cluster.untilEvent('waiting', /FailedScheduling.*did not have enough free storage/);
    });

    it('is full under a running pod: the pod hears of it, nobody else does, and what was synced is there afterwards', async () => {
      const [node = ''] = withDisk;
      await cluster.apply(
        claimOf('kept', { className: 'small', size: '128Mi' }),
        claimOf('beside'),
        podOf('writer', 'kept', { node, first: 'echo precious > /data/note && sync' }),
        podOf('neighbour', 'beside', { node }),
      );
      await cluster.untilRunning('writer');
      await cluster.untilRunning('neighbour');
      const pid = loamPid(node);
      const fill = `dd if=/dev/zero of=${path}/filler bs=1M 2>/dev/null; true`;
      await onNode(node, 'sh', '-c', fill);
      await untilRoom(node, (max) => max === '0');
      // the thin image cannot grow: the pod gets an error and not silence
      expect(
        await cluster.sh('writer', 'dd if=/dev/urandom of=/data/big bs=1M count=100 conv=fsync 2>&1; true'),
      ).toMatch(/error|No space|Read-only/i);
      expect(await cluster.sh('neighbour', 'echo well > /data/note && cat /data/note')).toBe('well');
      await cluster.apply(
        claimOf('late', { className: 'small', size: '32Mi' }),
        podOf('late', 'late', { node }),
      );
      await cluster.untilEvent('late', /FailedScheduling.*did not have enough free storage/);
      expect(loamPid(node)).toBe(pid);
      await onNode(node, 'rm', `${path}/filler`);
      await untilRoom(node, (max) => max !== '0');
      await cluster.untilRunning('late');
      await cluster.remove('pod', 'writer');
      await cluster.apply(podOf('reader', 'kept', { node }));
      await cluster.untilRunning('reader');
      expect(await cluster.sh('reader', 'cat /data/note && echo again > /data/more && cat /data/more')).toBe(
        'precious\nagain',
      );
      expect(loamPid(node)).toBe(pid);
    });
  },
);
