import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { removeAll } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const MiB = 1024 * 1024;

/** What the pod's file system has in all, as `df` in the pod says. */
async function sizeInside(pod: string): Promise<number> {
  const [, kibibytes = ''] = (await cluster.sh(pod, 'df -k /data | tail -1')).split(/\s+/);
  return Number(kibibytes) * 1024;
}

async function ask(claim: string, size: string): Promise<void> {
  const patch = JSON.stringify({ spec: { resources: { requests: { storage: size } } } });
  await cluster.kubectl(['patch', 'pvc', claim, `--patch=${patch}`]);
}

function untilSize(pod: string, bytes: number): Promise<boolean> {
  return eventually(`${bytes / MiB} MiB in ${pod}`, async () => {
    const found = await sizeInside(pod);
    if (found > bytes * 0.8) return true;
    throw new NotYet(`it sees ${found / MiB} MiB`);
  });
}

const untilCapacity = (claim: string, size: string): Promise<void> =>
  cluster.untilField('pvc', claim, '.status.capacity.storage', size);

describe.skipIf(why !== undefined)(`a claim that grows${why === undefined ? '' : ` (${why})`}`, () => {
  beforeAll(async () => {
    for (const type of ['xfs', 'btrfs', 'ext4'])
      await cluster.apply(
        classOf(`grows-${type}`, {
          allowVolumeExpansion: true,
          parameters: { 'csi.storage.k8s.io/fstype': type },
        }),
      );
  });
  afterEach(() => removeAll(cluster));
  afterAll(() => cluster.remove('storageclass', 'grows-xfs', 'grows-btrfs', 'grows-ext4'));

  it.each(['xfs', 'btrfs'])('is larger in its running pod at once, on %s', async (type) => {
    const claim = freshName('claim');
    await cluster.apply(
      claimOf(claim, { className: `grows-${type}`, size: '320Mi' }),
      podOf('user', claim, { first: 'echo before > /data/file' }),
    );
    await cluster.untilRunning('user');
    expect(await sizeInside('user')).toBeLessThanOrEqual(320 * MiB);
    const startMs = Date.now();
    await ask(claim, '640Mi');
    await untilSize('user', 640 * MiB);
    console.log(`${type}: ${Date.now() - startMs} ms from the edit to df in the pod, kubectl included`);
    await untilCapacity(claim, '640Mi');
    expect(await cluster.sh('user', 'cat /data/file')).toBe('before');
    // more than it could hold before
    await cluster.sh('user', 'dd if=/dev/zero of=/data/big bs=1M count=400 conv=fsync 2>/dev/null');
    await cluster.untilEvent(claim, /VolumeResizeSuccessful/);
    const volume = await cluster.field('pvc', claim, '.spec.volumeName');
    expect(await cluster.field('pv', volume, '.spec.capacity.storage')).toBe('640Mi');
  });

  it('is larger on ext4 too: at once where the kernel lets us, else with its next pod, and says which', async () => {
    const claim = freshName('claim');
    await cluster.apply(claimOf(claim, { className: 'grows-ext4' }), podOf('user', claim));
    await cluster.untilRunning('user');
    await ask(claim, '256Mi');
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
    await untilSize('user', 256 * MiB);
    await untilCapacity(claim, '256Mi');
  });

  it('is larger when a pod comes, where none had it when it grew', async () => {
    const claim = freshName('claim');
    await cluster.apply(claimOf(claim, { className: 'grows-ext4' }), podOf('first', claim));
    await cluster.untilRunning('first');
    await cluster.sh('first', 'echo kept > /data/file && sync');
    await cluster.remove('pod', 'first');
    await ask(claim, '192Mi');
    await untilCapacity(claim, '192Mi');
    await cluster.apply(podOf('second', claim));
    await cluster.untilRunning('second');
    await untilSize('second', 192 * MiB);
    expect(await cluster.sh('second', 'cat /data/file')).toBe('kept');
  });

  it('is a larger device, where it is a block volume, in its running pod', async () => {
    const claim = freshName('claim');
    await cluster.apply(
      claimOf(claim, { className: 'grows-ext4', block: true }),
      podOf('user', claim, { block: true }),
    );
    await cluster.untilRunning('user');
    await ask(claim, '128Mi');
    await untilCapacity(claim, '128Mi');
    const bytes = await cluster.sh('user', 'blockdev --getsize64 /dev/volume');
    expect(Number(bytes)).toBe(128 * MiB);
  });

  it('hears why it cannot grow past its disk, stays as it is, and grows to what fits', async () => {
    const claim = freshName('claim');
    await cluster.apply(
      claimOf(claim, { className: 'grows-xfs', size: '320Mi' }),
      podOf('user', claim, { first: 'echo before > /data/file' }),
    );
    await cluster.untilRunning('user');
    await ask(claim, '900Ti');
    expect(await cluster.untilEvent(claim, /VolumeResizeFailed/)).toMatch(/900 ?Ti/);
    expect(await cluster.field('pvc', claim, '.status.capacity.storage')).toBe('320Mi');
    expect(await cluster.sh('user', 'cat /data/file')).toBe('before');
    await ask(claim, '400Mi');
    await untilCapacity(claim, '400Mi');
    await untilSize('user', 400 * MiB);
  });
});
