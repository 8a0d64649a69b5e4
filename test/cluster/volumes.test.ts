import { chown } from 'node:fs/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { poolPath, removeRest } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { folderOfNode, onNode, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();

describe.skipIf(why !== undefined)(
  `volumes in pods of a real kubelet${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    afterAll(() => removeRest(new RealCluster()));

    it('is told of on its claim when something is wrong with it, and when that is over', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(claimOf(claim), podOf('user', claim));
      await cluster.untilRunning('user');
      const node = await cluster.nodeOf('user');
      const handle = await cluster.field('pvc', claim, '.spec.volumeName');
      const image = `${poolPath}/volumes/${handle}/image`;
      await onNode(node, 'mv', image, `${image}.away`);
      // each volume is looked at when Loam starts, and once a minute: the other tests run meanwhile
      await cluster.killLoam(node);
      const said = await cluster.untilEvent(claim, /VolumeConditionAbnormal/, 90_000);
      expect(said).toMatch(/image .* is gone; restore it/);
      await onNode(node, 'mv', `${image}.away`, image);
      await cluster.untilEvent(claim, /VolumeConditionNormal/, 90_000);
    });

    it.each([
      ['loam', /^\/dev\/loop\d+ .*ext4/],
      ['loam-directory', / ext4 | xfs | btrfs /],
    ])('gives a pod a volume of class %s, made when the pod asks for it', async (className, mount) => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('first', { className }));
      await cluster.untilEvent('first', /WaitForFirstConsumer/);
      expect(await cluster.field('pvc', 'first', '.spec.volumeName')).toBe('');
      const beganMs = performance.now();
      await cluster.apply(podOf('writer', 'first', { first: 'echo "from the pod" > /data/note' }));
      await cluster.untilRunning('writer');
      console.log(`${className}: pod ready after ${Math.round(performance.now() - beganMs)} ms`);
      expect(await cluster.sh('writer', 'cat /data/note')).toBe('from the pod');
      expect(await cluster.sh('writer', 'grep " /data " /proc/mounts')).toMatch(mount);
    });

    it.each(['loam', 'loam-directory'])(
      'keeps the data of class %s from one pod to the next',
      async (className) => {
        await using cluster = await OwnNamespace.open();
        await cluster.apply(
          claimOf('kept', { className }),
          podOf('first', 'kept', { first: 'echo one > /data/log' }),
        );
        await cluster.untilRunning('first');
        await cluster.remove('pod', 'first');
        await cluster.apply(podOf('second', 'kept', { first: 'echo two >> /data/log' }));
        await cluster.untilRunning('second');
        expect(await cluster.sh('second', 'cat /data/log')).toBe('one\ntwo');
      },
    );

    it('holds a loopback volume to its size', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('small', { size: '32Mi' }), podOf('greedy', 'small'));
      await cluster.untilRunning('greedy');
      const answer = await cluster.sh('greedy', 'dd if=/dev/zero of=/data/big bs=1M count=64 2>&1; true');
      expect(answer).toMatch(/No space left on device/);
    });

    it('serves one ReadWriteOnce claim to two pods of the node', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('shared'), podOf('left', 'shared'), podOf('right', 'shared'));
      await cluster.untilRunning('left');
      await cluster.untilRunning('right');
      await cluster.sh('left', 'echo seen > /data/by-both');
      expect(await cluster.sh('right', 'cat /data/by-both')).toBe('seen');
      await cluster.remove('pod', 'left');
      expect(await cluster.sh('right', 'cat /data/by-both')).toBe('seen');
    });

    it('refuses a ReadWriteOncePod claim to a second pod, until the first is gone', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('alone', { accessMode: 'ReadWriteOncePod' }), podOf('holder', 'alone'));
      await cluster.untilRunning('holder');
      await cluster.apply(podOf('waiting', 'alone'));
      await cluster.untilEvent('waiting', /FailedScheduling.*ReadWriteOncePod/);
      await cluster.remove('pod', 'holder');
      await cluster.untilRunning('waiting');
    });

    it('gives a pod a raw block device of the size it asked for', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('raw', { block: true }), podOf('device-user', 'raw', { block: true }));
      await cluster.untilRunning('device-user');
      expect(await cluster.sh('device-user', 'blockdev --getsize64 /dev/volume')).toBe(String(64 * 2 ** 20));
      await cluster.sh(
        'device-user',
        'echo raw bytes | dd of=/dev/volume bs=512 conv=sync 2>/dev/null; sync',
      );
      await cluster.remove('pod', 'device-user');
      await cluster.apply(podOf('next-user', 'raw', { block: true }));
      await cluster.untilRunning('next-user');
      expect(await cluster.sh('next-user', 'head -c 9 /dev/volume')).toBe('raw bytes');
    });

    it.each(['loam', 'loam-directory'])(
      'mounts a claim of class %s read-only where the pod says so',
      async (className) => {
        await using cluster = await OwnNamespace.open();
        await cluster.apply(
          claimOf('read', { className }),
          podOf('author', 'read', { first: 'echo text > /data/page' }),
        );
        await cluster.untilRunning('author');
        await cluster.remove('pod', 'author');
        await cluster.apply(podOf('reader', 'read', { readOnly: true }));
        await cluster.untilRunning('reader');
        expect(await cluster.sh('reader', 'cat /data/page')).toBe('text');
        expect(await cluster.sh('reader', 'touch /data/page 2>&1; true')).toMatch(/Read-only file system/);
      },
    );

    it.each(['loam', 'loam-directory'])(
      'lets a pod without root write as its fsGroup to class %s',
      async (className) => {
        await using cluster = await OwnNamespace.open();
        const securityContext = { runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000, runAsNonRoot: true };
        await cluster.apply(
          claimOf('grouped', { className }),
          podOf('unprivileged', 'grouped', { securityContext, first: 'echo mine > /data/file' }),
        );
        await cluster.untilRunning('unprivileged');
        expect(await cluster.sh('unprivileged', 'stat -c %u:%g /data/file')).toBe('1000:2000');
      },
    );

    it('gives a large tree to the fsGroup of its pod, and leaves it alone where the pod wants that and its root is right', async () => {
      await using cluster = await OwnNamespace.open();
      const fill =
        'for d in $(seq 100); do mkdir /data/$d; for f in $(seq 200); do : > /data/$d/$f; done; done';
      await cluster.apply(
        claimOf('tree', { className: 'loam-directory' }),
        podOf('filler', 'tree', { first: fill }),
      );
      await cluster.untilRunning('filler');
      const node = await cluster.nodeOf('filler');
      const handle = await cluster.field('pvc', 'tree', '.spec.volumeName');
      await cluster.remove('pod', 'filler');
      const grouped = { runAsUser: 1000, fsGroup: 2000, runAsNonRoot: true };
      const beganMs = performance.now();
      await cluster.apply(podOf('grouped', 'tree', { securityContext: grouped }));
      await cluster.untilRunning('grouped');
      console.log(
        `20,000 files given to an fsGroup: ready after ${Math.round(performance.now() - beganMs)} ms`,
      );
      expect(await cluster.sh('grouped', 'find /data -type f -group 2000 | wc -l')).toBe('20000');
      await cluster.remove('pod', 'grouped');
      const file = `${folderOfNode(node, poolPath)}/volumes/${handle}/data/1/1`;
      await chown(file, 0, 0);
      const securityContext = { ...grouped, fsGroupChangePolicy: 'OnRootMismatch' };
      await cluster.apply(podOf('again', 'tree', { securityContext }));
      await cluster.untilRunning('again');
      expect(await cluster.sh('again', 'stat -c %g /data/1/1 /data/1/2')).toBe('0\n2000');
    });

    it('serves kept data to a PV that was written by hand for its handle', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(
        classOf('kept', { reclaimPolicy: 'Retain' }),
        claimOf('original', { className: 'kept' }),
        podOf('before', 'original', { first: 'echo kept > /data/file' }),
      );
      await cluster.untilRunning('before');
      const volume = await cluster.field('pvc', 'original', '.spec.volumeName');
      const spec = JSON.parse(await cluster.field('pv', volume, '.spec')) as Record<string, unknown>;
      await cluster.remove('pod', 'before');
      await cluster.remove('pvc', 'original');
      await cluster.untilField('pv', volume, '.status.phase', 'Released');
      await cluster.remove('pv', volume);
      const { csi, nodeAffinity, capacity } = spec;
      const { driver, volumeHandle } = csi as Record<string, unknown>;
      await cluster.apply(
        {
          apiVersion: 'v1',
          kind: 'PersistentVolume',
          // Delete, so that this test leaves nothing: an administrator's word counts
          metadata: { name: 'by-hand', annotations: { 'pv.kubernetes.io/provisioned-by': 'loam.dev' } },
          spec: {
            capacity,
            nodeAffinity,
            accessModes: ['ReadWriteOnce'],
            persistentVolumeReclaimPolicy: 'Delete',
            storageClassName: '',
            csi: { driver, volumeHandle },
          },
        },
        claimOf('again', { className: '', volumeName: 'by-hand' }),
        podOf('after', 'again'),
      );
      await cluster.untilRunning('after');
      expect(await cluster.sh('after', 'cat /data/file')).toBe('kept');
      await cluster.remove('pod', 'after');
      await cluster.remove('pvc', 'again');
      await cluster.remove('storageclass', 'kept');
    });

    it('says on the claim which parameter of its class does not exist', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(
        classOf('typo', { parameters: { bakend: 'directory' } }),
        claimOf('doomed', { className: 'typo' }),
        podOf('pending', 'doomed'),
      );
      expect(await cluster.untilEvent('doomed', /ProvisioningFailed/)).toMatch(/bakend/);
      expect(await cluster.field('pod', 'pending', '.status.phase')).toBe('Pending');
      await cluster.remove('storageclass', 'typo');
    });

    it('keeps the volume of a claim that is deleted while a pod uses it, and takes it with the pod', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('going'), podOf('user', 'going', { first: 'echo here > /data/file' }));
      await cluster.untilRunning('user');
      const volume = await cluster.field('pvc', 'going', '.spec.volumeName');
      await cluster.kubectl(['delete', 'pvc', 'going', '--wait=false']);
      expect(await cluster.sh('user', 'cat /data/file')).toBe('here');
      expect(await cluster.field('pv', volume, '.status.phase')).toBe('Bound');
      await cluster.remove('pod', 'user');
      await eventually(
        'the PV gone',
        async () => (await cluster.field('pv', volume, '.metadata.name')) === '',
        60_000,
      );
    });
  },
);
