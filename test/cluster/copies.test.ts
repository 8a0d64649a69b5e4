import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeRest } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { installWith } from '../support/loam-settings.ts';
import { mountDisk, removeDisk } from '../support/node-disks.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { RealCluster, whyNoCluster } from '../support/real-cluster.ts';
import { restoredFrom, snapshotClassOf, snapshotOf } from '../support/snapshots.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const node = 'node-b';
const disk = (type: string): string => `/var/disks/${type}-${process.pid}`;
const pools = [
  'pools[0].name=default',
  'pools[0].path=/var/lib/loam/pool',
  ...['xfs', 'btrfs'].flatMap((type, index) => [
    `pools[${index + 1}].name=${type}`,
    `pools[${index + 1}].path=${disk(type)}`,
    `pools[${index + 1}].mounted=true`,
    `pools[${index + 1}].tenants=trusted`,
  ]),
];

/** Every kind of volume that can be copied while a pod writes: the class, and the file system that `mkfs` is to make. */
const kinds = [
  { name: 'image-on-xfs', parameters: { backend: 'loopback', pool: 'xfs' } },
  {
    name: 'xfs-image-on-xfs',
    parameters: { backend: 'loopback', pool: 'xfs', 'csi.storage.k8s.io/fstype': 'xfs' },
  },
  { name: 'subvolume', parameters: { backend: 'btrfs', pool: 'btrfs' } },
] as const;
const size = '320Mi';

/** Numbers, one a line, each on the disk before the next; the last that surely is there stands in the pod's /tmp/synced. */
const database = [
  '(i=0; while true; do i=$((i+1))',
  'echo $i | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null || exit',
  'echo $i > /tmp/synced.new && mv /tmp/synced.new /tmp/synced; done) & true',
].join('; ');

async function synced(cluster: RealCluster, pod: string): Promise<number> {
  return Number(await cluster.sh(pod, 'cat /tmp/synced 2>/dev/null || echo 0'));
}

/** How many numbers the log holds, which has to be all of them from 1, the last one whole or not there. */
async function prefixIn(cluster: RealCluster, pod: string): Promise<number> {
  const check = "awk 'NR != $1 { exit 1 } END { print NR }' /data/log";
  // a line that was being written is no line yet
  return Number(await cluster.sh(pod, `${check} || { sed -i '$d' /data/log && ${check}; }`));
}

const untilReady = (cluster: RealCluster, name: string): Promise<void> =>
  cluster.untilField('volumesnapshot', name, '.status.readyToUse', 'true');

describe.skipIf(why !== undefined)(
  `copies of volumes${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    beforeAll(async () => {
      await mountDisk(node, disk('xfs'), { fsType: 'xfs', size: '12G' });
      await mountDisk(node, disk('btrfs'), { fsType: 'btrfs', size: '12G' });
      await installWith(cluster, ...pools);
      await cluster.apply(snapshotClassOf('loam'), snapshotClassOf('kept', { deletionPolicy: 'Retain' }));
      for (const { name, parameters } of kinds)
        await cluster.apply(classOf(name, { parameters, allowVolumeExpansion: true }));
    });

    afterAll(async () => {
      await removeRest(cluster);
      await cluster.remove('storageclass', ...kinds.map(({ name }) => name));
      await cluster.remove('volumesnapshotclass', 'loam', 'kept');
      await installWith(cluster);
      for (const type of ['xfs', 'btrfs']) await removeDisk(node, disk(type));
    });

    it.each(kinds)(
      'are of one moment while a pod writes ($name): each restore mounts and holds what was synced before, and nothing torn',
      async ({ name: className }) => {
        await using cluster = await OwnNamespace.open();
        const source = freshName('source');
        await cluster.apply(
          claimOf(source, { className, size }),
          podOf('writer', source, { first: database }),
        );
        await cluster.untilRunning('writer');
        const rounds = [1, 2, 3];
        const before: number[] = [];
        for (const round of rounds) {
          const last = before.at(-1) ?? 0;
          await eventually(
            'more written',
            async () => (await synced(cluster, 'writer')) > last + 20,
            60_000,
            200,
          );
          before.push(await synced(cluster, 'writer'));
          await cluster.apply(snapshotOf(`shot-${round}`, source));
          await untilReady(cluster, `shot-${round}`);
        }
        const after = await synced(cluster, 'writer');
        expect(after).toBeGreaterThan(before.at(-1) ?? 0);
        await cluster.apply(
          ...rounds.flatMap((round) => {
            const restore = `restore-${round}`;
            const claim = claimOf(restore, { className, size });
            return [restoredFrom('snapshot', `shot-${round}`, claim), podOf(restore, restore)];
          }),
        );
        for (const round of rounds) {
          const restore = `restore-${round}`;
          // beside its source, which goes on
          await cluster.untilRunning(restore);
          const lines = await prefixIn(cluster, restore);
          expect(lines).toBeGreaterThanOrEqual(before[round - 1] ?? 0);
          expect(lines).toBeLessThanOrEqual((await synced(cluster, 'writer')) + 1);
        }
        expect(await cluster.sh('writer', 'echo well > /data/other && sync && cat /data/other')).toBe('well');
      },
    );

    it.each(kinds)(
      'are independent of their source, and may be larger ($name)',
      async ({ name: className }) => {
        await using cluster = await OwnNamespace.open();
        const source = freshName('source');
        await cluster.apply(
          claimOf(source, { className, size }),
          podOf('first', source, { first: 'echo original > /data/file && sync' }),
        );
        await cluster.untilRunning('first');
        const startMs = Date.now();
        await cluster.apply(
          restoredFrom('claim', source, claimOf('clone', { className, size: '640Mi' })),
          podOf('second', 'clone'),
        );
        await cluster.untilRunning('second');
        console.log(`${className}: a pod on a clone is ready after ${Date.now() - startMs} ms`);
        expect(await cluster.nodeOf('second')).toBe(node);
        expect(await cluster.sh('second', 'cat /data/file')).toBe('original');
        await cluster.sh('second', 'echo changed > /data/file && echo more > /data/new && sync');
        await cluster.sh('first', 'echo other > /data/file && sync');
        expect(await cluster.sh('second', 'cat /data/file')).toBe('changed');
        expect(await cluster.sh('first', 'ls /data | grep -c new || true')).toBe('0');
        // more than its source could hold
        await cluster.sh('second', 'dd if=/dev/zero of=/data/big bs=1M count=400 conv=fsync 2>/dev/null');
        await cluster.remove('pod', 'first');
        await cluster.remove('pvc', source);
        expect(await cluster.sh('second', 'cat /data/file')).toBe('changed');
      },
    );

    it('outlive their source, and give its data to a claim of another size', async () => {
      await using cluster = await OwnNamespace.open();
      const className = 'image-on-xfs';
      const source = freshName('source');
      await cluster.apply(
        claimOf(source, { className, size }),
        podOf('writer', source, { first: 'echo precious > /data/file && sync' }),
      );
      await cluster.untilRunning('writer');
      await cluster.apply(snapshotOf('shot', source));
      await untilReady(cluster, 'shot');
      await cluster.remove('pod', 'writer');
      const volume = await cluster.field('pvc', source, '.spec.volumeName');
      await cluster.remove('pvc', source);
      await cluster.untilField('pv', volume, '.metadata.name', '', 90_000);
      await cluster.apply(
        restoredFrom('snapshot', 'shot', claimOf('back', { className, size: '500Mi' })),
        podOf('reader', 'back'),
      );
      await cluster.untilRunning('reader');
      expect(await cluster.sh('reader', 'cat /data/file')).toBe('precious');
    });

    it('are refused with the number where the claim is smaller than the snapshot', async () => {
      await using cluster = await OwnNamespace.open();
      const className = 'image-on-xfs';
      const source = freshName('source');
      await cluster.apply(claimOf(source, { className, size }), podOf('writer', source));
      await cluster.untilRunning('writer');
      await cluster.apply(snapshotOf('shot', source));
      await untilReady(cluster, 'shot');
      const small = freshName('small');
      await cluster.apply(
        restoredFrom('snapshot', 'shot', claimOf(small, { className, size: '64Mi' })),
        podOf('waiting', small),
      );
      expect(await cluster.untilEvent(small, /ProvisioningFailed/)).toMatch(/320 ?Mi/);
    });

    it('are kept on the disk where the class says Retain, and gone where it says Delete', async () => {
      await using cluster = await OwnNamespace.open();
      const className = 'image-on-xfs';
      const source = freshName('source');
      await cluster.apply(claimOf(source, { className, size }), podOf('writer', source));
      await cluster.untilRunning('writer');
      const content = async (name: string): Promise<string> =>
        cluster.field('volumesnapshot', name, '.status.boundVolumeSnapshotContentName');
      await cluster.apply(snapshotOf('goes', source), snapshotOf('stays', source, 'kept'));
      await untilReady(cluster, 'goes');
      await untilReady(cluster, 'stays');
      const [goes, stays] = [await content('goes'), await content('stays')];
      await cluster.remove('volumesnapshot', 'goes', 'stays');
      await cluster.untilField('volumesnapshotcontent', goes, '.metadata.name', '');
      expect(await cluster.field('volumesnapshotcontent', stays, '.metadata.name')).toBe(stays);
      const patch = JSON.stringify({ spec: { deletionPolicy: 'Delete' } });
      await cluster.kubectl(['patch', 'volumesnapshotcontent', stays, '--type=merge', `--patch=${patch}`]);
      await cluster.remove('volumesnapshotcontent', stays);
    });

    it('of a directory that a pod writes to are refused unless the class accepts it', async () => {
      await using cluster = await OwnNamespace.open();
      const source = freshName('source');
      await cluster.apply(
        claimOf(source, { className: 'loam-directory' }),
        podOf('writer', source, { first: 'echo text > /data/file && sync' }),
      );
      await cluster.untilRunning('writer');
      await cluster.apply(snapshotOf('strict', source));
      const error = '.status.error.message';
      await eventually('the snapshot to say why not', async () => {
        const said = await cluster.field('volumesnapshot', 'strict', error);
        if (/consistency: accept/.test(said)) return true;
        throw new NotYet(`it says ${said}`);
      });
      await cluster.apply(
        snapshotClassOf('loose', { parameters: { consistency: 'accept' } }),
        snapshotOf('accepted', source, 'loose'),
      );
      await untilReady(cluster, 'accepted');
      await cluster.remove('volumesnapshot', 'strict', 'accepted');
      await cluster.remove('volumesnapshotclass', 'loose');
    });
  },
);
