import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeRest } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { kubectlEveryMs, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const classes = ['xfs', 'btrfs', 'ext4'].map((type) => ({ type, name: `grows-${type}` }));
const MiB = 1024 * 1024;

/** What the pod's file system has in all, as `df` in the pod says. */
async function sizeInside(cluster: RealCluster, pod: string): Promise<number> {
  const [, kibibytes = ''] = (await cluster.sh(pod, 'df -k /data | tail -1')).split(/\s+/);
  return Number(kibibytes) * 1024;
}

async function ask(cluster: RealCluster, claim: string, size: string): Promise<void> {
  const patch = JSON.stringify({ spec: { resources: { requests: { storage: size } } } });
  await cluster.kubectl(['patch', 'pvc', claim, `--patch=${patch}`]);
}

function untilSize(cluster: RealCluster, pod: string, bytes: number): Promise<boolean> {
  return eventually(
    `${bytes / MiB} MiB in ${pod}`,
    async () => {
      const found = await sizeInside(cluster, pod);
      if (found > bytes * 0.8) return true;
      throw new NotYet(`it sees ${found / MiB} MiB`);
    },
    60_000,
    kubectlEveryMs,
  );
}

const untilCapacity = (cluster: RealCluster, claim: string, size: string): Promise<void> =>
  cluster.untilField('pvc', claim, '.status.capacity.storage', size);

describe.skipIf(why !== undefined)(
  `a claim that grows${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    beforeAll(() =>
      new RealCluster().apply(
        ...classes.map(({ type, name }) => {
          const parameters = { 'csi.storage.k8s.io/fstype': type };
          return classOf(name, { allowVolumeExpansion: true, parameters });
        }),
      ),
    );
    afterAll(async () => {
      const cluster = new RealCluster();
      await removeRest(cluster);
      await cluster.remove('storageclass', ...classes.map(({ name }) => name));
    });

    it.each(['xfs', 'btrfs'])('is larger in its running pod at once, on %s', async (type) => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(
        claimOf(claim, { className: `grows-${type}`, size: '320Mi' }),
        podOf('user', claim, { first: 'echo before > /data/file' }),
      );
      await cluster.untilRunning('user');
      expect(await sizeInside(cluster, 'user')).toBeLessThanOrEqual(320 * MiB);
      const startMs = Date.now();
      await ask(cluster, claim, '640Mi');
      await untilSize(cluster, 'user', 640 * MiB);
      console.log(`${type}: ${Date.now() - startMs} ms from the edit to df in the pod, kubectl included`);
      await untilCapacity(cluster, claim, '640Mi');
      expect(await cluster.sh('user', 'cat /data/file')).toBe('before');
      // more than it could hold before
      await cluster.sh('user', 'dd if=/dev/zero of=/data/big bs=1M count=400 conv=fsync 2>/dev/null');
      await cluster.untilEvent(claim, /VolumeResizeSuccessful/);
      const volume = await cluster.field('pvc', claim, '.spec.volumeName');
      expect(await cluster.field('pv', volume, '.spec.capacity.storage')).toBe('640Mi');
    });

    it('is larger on ext4 too: at once where the kernel lets us, else with its next pod, and says which', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(claimOf(claim, { className: 'grows-ext4' }), podOf('user', claim));
      await cluster.untilRunning('user');
      await ask(cluster, claim, '256Mi');
      const outcome = await cluster.untilEvent(
        claim,
        /VolumeResizeSuccessful|FileSystemResizeRequired|VolumeResizeFailed/,
      );
      console.log(outcome);
      if (!outcome.startsWith('VolumeResizeSuccessful')) {
        expect(outcome).toMatch(/^FileSystemResizeRequired/);
        await cluster.remove('pod', 'user');
        await cluster.apply(podOf('user', claim));
        await cluster.untilRunning('user');
      }
      await untilSize(cluster, 'user', 256 * MiB);
      await untilCapacity(cluster, claim, '256Mi');
    });

    it('is larger when a pod comes, where none had it when it grew', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(claimOf(claim, { className: 'grows-ext4' }), podOf('first', claim));
      await cluster.untilRunning('first');
      await cluster.sh('first', 'echo kept > /data/file && sync');
      await cluster.remove('pod', 'first');
      await ask(cluster, claim, '192Mi');
      await untilCapacity(cluster, claim, '192Mi');
      await cluster.apply(podOf('second', claim));
      await cluster.untilRunning('second');
      await untilSize(cluster, 'second', 192 * MiB);
      expect(await cluster.sh('second', 'cat /data/file')).toBe('kept');
    });

    it('is a larger device, where it is a block volume, in its running pod', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(
        claimOf(claim, { className: 'grows-ext4', block: true }),
        podOf('user', claim, { block: true }),
      );
      await cluster.untilRunning('user');
      await ask(cluster, claim, '128Mi');
      await untilCapacity(cluster, claim, '128Mi');
      const bytes = await cluster.sh('user', 'blockdev --getsize64 /dev/volume');
      expect(Number(bytes)).toBe(128 * MiB);
    });

    it('hears why it cannot grow past its disk, stays as it is, and grows to what fits', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(
        claimOf(claim, { className: 'grows-xfs', size: '320Mi' }),
        podOf('user', claim, { first: 'echo before > /data/file' }),
      );
      await cluster.untilRunning('user');
      await ask(cluster, claim, '900Ti');
      expect(await cluster.untilEvent(claim, /VolumeResizeFailed/)).toMatch(/900 ?Ti/);
      expect(await cluster.field('pvc', claim, '.status.capacity.storage')).toBe('320Mi');
      expect(await cluster.sh('user', 'cat /data/file')).toBe('before');
      await ask(cluster, claim, '400Mi');
      await untilCapacity(cluster, claim, '400Mi');
      await untilSize(cluster, 'user', 400 * MiB);
    });
  },
);
