import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { removeAll } from '../support/cluster-leftovers.ts';
import { installWith } from '../support/loam-settings.ts';
import { mountDisk, removeDisk } from '../support/node-disks.ts';
import { claimOf, classOf, podOf } from '../support/pods.ts';
import { onNode, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const node = 'node-c';
const MiB = 1024 * 1024;
const path = `/var/disks/limits-${process.pid}`;
const pools = [
  'pools[0].name=default',
  'pools[0].path=/var/lib/loam/pool',
  'pools[1].name=trusted',
  `pools[1].path=${path}`,
  'pools[1].mounted=true',
  'pools[1].tenants=trusted',
];

/** Each backend that says `enforced`, and how much of a claim its own bookkeeping may take. */
const kinds = [
  { name: 'loopback', extra: { parameters: { backend: 'loopback' } }, sizeMiB: 512 },
  {
    name: 'loopback-xfs',
    extra: { parameters: { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'xfs' } },
    sizeMiB: 512,
  },
  { name: 'btrfs', extra: { parameters: { backend: 'btrfs', pool: 'trusted' } }, sizeMiB: 128 },
] as const;

/** Bytes that lie in the volume, as its pod counts them. */
const used = "du -s /data | awk '{print $1 * 1024}'";
/** Writes until it is told that there is no more, in each way that a plain file can be written. */
const fill =
  'dd if=/dev/zero of=/data/big bs=1M 2>/tmp/said; sync; grep -q -i -E "no space|quota" /tmp/said && echo refused';

/** What all images of the node take of its disk. */
const poolBytes = "du -s /var/lib/loam/pool | awk '{print $1 * 1024}'";

describe.skipIf(why !== undefined)(
  `the size of a volume under a pod that wants more${why === undefined ? '' : ` (${why})`}`,
  () => {
    beforeAll(async () => {
      await mountDisk(node, path, { fsType: 'btrfs', size: '4G' });
      await installWith(cluster, ...pools);
      for (const { name, extra } of kinds) await cluster.apply(classOf(`limits-${name}`, extra));
    });
    afterEach(() => removeAll(cluster));
    afterAll(async () => {
      await cluster.remove('storageclass', ...kinds.map(({ name }) => `limits-${name}`));
      await installWith(cluster);
      await removeDisk(node, path);
    });

    it.each(kinds)(
      'ends at its limit on $name, within 2 % and what the file system takes, and its neighbour hears nothing',
      async ({ name, sizeMiB }) => {
        const claim = { className: `limits-${name}`, size: `${sizeMiB}Mi` };
        await cluster.apply(
          claimOf('greedy', claim),
          claimOf('modest', claim),
          podOf('greedy', 'greedy', { node }),
          podOf('modest', 'modest', { node }),
        );
        await cluster.untilRunning('greedy');
        await cluster.untilRunning('modest');
        const room = Number(await cluster.sh('greedy', "df -k /data | tail -1 | awk '{print $4}'")) * 1024;
        expect(await cluster.sh('greedy', fill)).toBe('refused');
        const taken = Number(await cluster.sh('greedy', used));
        console.log(`${name}: ${taken / MiB} of ${sizeMiB} MiB written, df had said ${room / MiB}`);
        expect(taken).toBeLessThanOrEqual(sizeMiB * MiB * 1.02);
        // what df showed as free could be had
        expect(taken).toBeGreaterThanOrEqual(Math.min(room, sizeMiB * MiB) * 0.96);
        const write = 'dd if=/dev/zero of=/data/big bs=1M count=32 conv=fsync 2>/dev/null && echo written';
        expect(await cluster.sh('modest', write)).toBe('written');
      },
    );

    it('ends there for a pod that deletes what it keeps open, links what it has, and leaves holes', async () => {
      await cluster.apply(
        claimOf('sly', { className: 'limits-loopback', size: '128Mi' }),
        podOf('sly', 'sly', { node }),
      );
      await cluster.untilRunning('sly');
      const before = Number(await onNode(node, 'sh', '-c', poolBytes));
      const tricks = [
        'dd if=/dev/zero of=/data/open bs=1M count=50 2>/dev/null',
        '(exec 3</data/open; rm /data/open; sleep 8) &',
        'sleep 1',
        'for i in 1 2 3 4 5; do dd if=/dev/zero of=/data/f$i bs=1M count=40 2>/dev/null; ln /data/f$i /data/l$i; done',
        'dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=100G 2>/dev/null',
        'dd if=/dev/zero of=/data/sparse bs=1M count=200 conv=notrunc 2>/dev/null',
        'sync; true',
      ];
      await cluster.sh('sly', tricks.join('\n'));
      const after = Number(await onNode(node, 'sh', '-c', poolBytes));
      expect(after - before).toBeLessThanOrEqual(128 * MiB * 1.02);
    });
  },
);
