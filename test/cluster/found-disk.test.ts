import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poolPath, removeAll } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { loamOn } from '../support/loam-command.ts';
import { installWith } from '../support/loam-settings.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { onNode, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const node = 'node-b';
const pools = ['pools[0].name=default', `pools[0].path=${poolPath}`, 'pools[0].discover=found'];
/** as an administrator would call it: the disk's place in the discovery folder, and its image elsewhere on the node */
const name = freshName('disk');
const mountPoint = `${poolPath}/discovery/${name}`;
const image = `/var/${name}.img`;

const mount = (): Promise<string> => onNode(node, 'mount', '-o', 'loop', image, mountPoint);
/** Loam opens the disk now and then, to look whose it is. */
const unmount = (): Promise<string> =>
  eventually('the disk unmounted', () =>
    onNode(node, 'umount', mountPoint).then(
      () => 'done',
      (error: unknown) => {
        throw new NotYet(String(error));
      },
    ),
  );

/** The PV that Loam offers for the disk. */
function untilOffered(): Promise<string> {
  return eventually(
    'an Available PV of class found',
    async () => {
      const path = '{range .items[?(@.spec.storageClassName=="found")]}{.metadata.name} {.status.phase}{end}';
      const [volume = '', phase] = (await cluster.kubectl(['get', 'pv', `--output=jsonpath=${path}`])).split(
        ' ',
      );
      if (phase === 'Available') return volume;
      throw new NotYet(`${volume} is ${phase}`);
    },
    60_000,
    200,
  );
}

describe.skipIf(why !== undefined)(
  `a disk that is mounted in the discovery folder of a running node${why === undefined ? '' : ` (${why})`}`,
  () => {
    beforeAll(async () => {
      await cluster.apply(classOf('found', { parameters: { backend: 'directory', limit: 'advisory' } }));
      await installWith(cluster, ...pools);
      await onNode(
        node,
        'sh',
        '-c',
        `truncate -s 96M ${image} && mkfs.ext4 -q ${image} && mkdir -p ${mountPoint}`,
      );
    });
    afterEach(() => removeAll(cluster));
    afterAll(async () => {
      await onNode(
        node,
        'sh',
        '-c',
        `while umount ${mountPoint} 2>/dev/null; do :; done; rmdir ${mountPoint} ${poolPath}/discovery; rm -f ${image}`,
      );
      await installWith(cluster);
      await cluster.remove('storageclass', 'found');
    });

    it(
      'is a PV that a claim gets; while it is unmounted pods are told where it belongs, and they start once it is back',
      { timeout: 400_000 },
      async () => {
        await mount();
        const beganMs = performance.now();
        const volume = await untilOffered();
        console.log(`offered ${Math.round(performance.now() - beganMs)} ms after it was mounted`);
        console.log(await cluster.kubectl(['get', 'pv']));

        await cluster.apply(
          claimOf('data', { className: 'found', volumeName: volume }),
          podOf('writer', 'data', { first: 'echo precious > /data/file && sync' }),
        );
        await cluster.untilRunning('writer');
        expect(await cluster.nodeOf('writer')).toBe(node);
        const mounted = await cluster.sh('writer', 'grep " /data " /proc/mounts');
        expect(mounted).toMatch(/^\/dev\/loop\d+ .*ext4/);
        expect(await onNode(node, 'cat', `${mountPoint}/file`)).toBe('precious');
        await cluster.remove('pod', 'writer');

        await unmount();
        expect(await onNode(node, 'ls', '-A', mountPoint)).toBe('');
        await cluster.apply(podOf('reader', 'data'));
        const refused = await cluster.untilEvent('reader', /FailedMount.*mount it there again/);
        console.log(refused);
        expect(refused).toContain(mountPoint);
        expect(await cluster.field('pod', 'reader', '.status.phase')).toBe('Pending');
        // nothing was written where the disk is not
        expect(await onNode(node, 'ls', '-A', mountPoint)).toBe('');

        await mount();
        await cluster.untilRunning('reader', 150_000);
        expect(await cluster.sh('reader', 'cat /data/file')).toBe('precious');

        // given back: with policy Delete the disk is emptied, and would be offered again if that were still wanted
        await cluster.remove('pod', 'reader');
        await installWith(cluster);
        await cluster.kubectl([
          'patch',
          'pv',
          volume,
          '--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}',
        ]);
        await cluster.remove('pvc', 'data');
        await cluster.untilField('pv', volume, '.metadata.name', '', 90_000);
        expect(await onNode(node, 'sh', '-c', `ls -A ${mountPoint} | grep -vx lost+found; true`)).toBe('');
        await unmount();
        expect(await loamOn(cluster, node, 'gc', '--dry-run')).toMatch(/nothing to do/);
      },
    );
  },
);
