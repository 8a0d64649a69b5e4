import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { poolPath, removeAll, removeRest } from '../support/cluster-leftovers.ts';
import { OwnNamespace, removeVolumes } from '../support/own-namespace.ts';
import { claimOf, classOf, podOf } from '../support/pods.ts';
import { assertPoolEmpty } from '../support/pool-leftovers.ts';
import { folderOfNode, onNode, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const node = 'node-b';
const classes = ['loam', 'loam-directory'] as const;
const strangers = [
  ['root', {}],
  ['another user', { runAsUser: 2000, runAsGroup: 2000, fsGroup: 3000, runAsNonRoot: true }],
] as const;

const sizeMi = 32;
/** bytes that are not zero, of which no new volume has any */
const written = 'tr -d "\\0" < /dev/volume | wc -c';
const found = (pattern: string, path: string) => `tr -d "\\0" < ${path} | grep -c ${pattern}; true`;

describe.skipIf(why !== undefined)(
  `two namespaces on one node${why === undefined ? '' : ` (${why})`}`,
  () => {
    afterAll(async () => {
      await removeRest(cluster);
      await cluster.remove('storageclass', 'recycled');
    });

    it.concurrent.each(classes)(
      'see nothing of each other in volumes of class %s, as root or as anybody',
      async (className) => {
        await using owner = await OwnNamespace.open();
        await using stranger = await OwnNamespace.open();
        const secret = randomBytes(8).toString('hex');
        const ownerContext = { runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, runAsNonRoot: true };
        await owner.apply(
          claimOf('data', { className }),
          podOf('owner', 'data', {
            node,
            securityContext: ownerContext,
            first: `echo ${secret} > /data/${secret} && chmod 600 /data/${secret}`,
          }),
        );
        await owner.untilRunning('owner');
        const volume = await owner.field('pvc', 'data', '.spec.volumeName');
        for (const [index, [who, securityContext]] of strangers.entries()) {
          const pod = `stranger-${index}`;
          // the same claim's name, which is another claim in another namespace
          await stranger.apply(
            claimOf('data', { className }),
            podOf(pod, 'data', {
              node,
              securityContext,
              first: 'ln -sfn ../../../.. /data/up && ln -sfn /var/lib/loam/pool /data/pool',
            }),
          );
          await stranger.untilRunning(pod);
          const own = await stranger.field('pvc', 'data', '.spec.volumeName');
          expect(own).not.toBe(volume);
          const sh = (line: string) => stranger.sh(pod, line);
          expect(await sh(`ls -A /data | grep -vx -e up -e pool -e lost+found; true`), who).toBe('');
          // up from the volume is the container's own root, and a link is followed within it
          expect(await sh('cd /data/.. && ls -A'), who).toBe(await sh('ls -A /'));
          expect(await sh('ls -A /data/up/'), who).toBe(await sh('ls -A /'));
          expect(await sh('ls /data/pool/ 2>&1; true'), who).toMatch(/No such file/);
          expect(await sh(`find / -name '*${secret}*' -not -path '/proc/*' 2>/dev/null; true`), who).toBe('');
          expect(await sh('ls /dev | grep -e loop -e vd -e sd; true'), who).toBe('');
          // one mount is the volume, and none is of anybody else's
          const mounts = (await sh('cat /proc/self/mountinfo')).split('\n');
          expect(mounts.join('\n'), who).not.toContain(volume);
          const atData = mounts.filter((line) => line.split(' ')[4] === '/data');
          expect(atData, who).toHaveLength(1);
          expect(atData[0], who).toMatch(/\bnodev\b/);
          if (className === 'loam-directory') expect(atData[0]?.split(' ')[3]).toContain(`/volumes/${own}/`);
          else expect(atData[0]).toMatch(/ \/ \/data .* \/dev\/loop\d+ /);
          if (who === 'root') {
            const device = await sh(
              'mknod /data/device b 7 0 && cat /data/device 2>&1 | head -c 100; rm /data/device',
            );
            expect(device).toMatch(/Permission denied|Operation not permitted/);
          }
          await stranger.remove('pod', pod);
        }
        expect(await owner.sh('owner', `cat /data/${secret}`)).toBe(secret);
      },
    );

    it.concurrent(
      'cannot have a volume by naming its claim or its PV, or the node by a link in a subPath',
      async () => {
        await using owner = await OwnNamespace.open();
        await using stranger = await OwnNamespace.open();
        await owner.apply(claimOf('data'), podOf('owner', 'data', { node }));
        await owner.untilRunning('owner');
        const volume = await owner.field('pvc', 'data', '.spec.volumeName');
        await stranger.apply(podOf('by-claim', 'data'), claimOf('by-name', { volumeName: volume }));
        expect(await stranger.untilEvent('by-claim', /FailedScheduling/)).toMatch(
          /persistentvolumeclaim "data" not found/,
        );
        console.log(await stranger.untilEvent('by-name', /./));
        expect(await stranger.field('pvc', 'by-name', '.status.phase')).toBe('Pending');
        expect(await cluster.field('pv', volume, '.spec.claimRef.namespace')).toBe(owner.namespace);
        expect(await cluster.field('pv', volume, '.status.phase')).toBe('Bound');

        const first = 'ln -sfn /var/lib/loam/pool /data/link';
        await stranger.apply(claimOf('own'), podOf('planter', 'own', { node, first }));
        await stranger.untilRunning('planter');
        const text = JSON.stringify(podOf('follower', 'own', { node }));
        const withLink = text.replace('"mountPath":"/data"', '"mountPath":"/data","subPath":"link"');
        await stranger.apply(JSON.parse(withLink) as object);
        console.log(await stranger.untilEvent('follower', /subPath/));
        expect(await stranger.field('pod', 'follower', '.status.containerStatuses[0].ready')).toBe('false');
      },
    );

    it.concurrent('find nothing of a volume with the policy Recycle in it, when it is theirs', async () => {
      await using owner = await OwnNamespace.open();
      await using stranger = await OwnNamespace.open();
      // of a class of its own: once Available it goes to any claim of its class that comes first
      await owner.apply(
        classOf('recycled', {}),
        claimOf('data', { className: 'recycled' }),
        podOf('owner', 'data', { node, first: 'echo mine > /data/note' }),
      );
      await owner.untilRunning('owner');
      const volume = await owner.field('pvc', 'data', '.spec.volumeName');
      const policy = (value: string) =>
        cluster.kubectl([
          'patch',
          'pv',
          volume,
          `--patch=${JSON.stringify({ spec: { persistentVolumeReclaimPolicy: value } })}`,
        ]);
      await policy('Recycle');
      await owner.remove('pod', 'owner');
      await owner.remove('pvc', 'data');
      await cluster.untilField('pv', volume, '.status.phase', 'Available', 90_000);
      await stranger.apply(
        claimOf('data', { className: 'recycled', volumeName: volume }),
        podOf('stranger', 'data', { node }),
      );
      await stranger.untilRunning('stranger');
      expect(await stranger.sh('stranger', 'ls /data | grep -vx lost+found; true')).toBe('');
      await policy('Delete');
      await removeVolumes(stranger);
      await cluster.untilField('pv', volume, '.metadata.name', '');
    });

    /** One after the other: they look at the whole disk. */
    describe('in the blocks of its disk', () => {
      afterEach(async () => {
        await removeAll(cluster);
        await cluster.remove('storageclass', 'special');
      });

      it.each(['thin', 'thick'])(
        'find nothing of deleted volumes in new ones that are made at once (%s)',
        async (provisioning) => {
          await using owner = await OwnNamespace.open();
          await using stranger = await OwnNamespace.open();
          const pattern = `tenant-a-${randomBytes(8).toString('hex')}`;
          const size = `${sizeMi}Mi`;
          const own = (name: string, block = false) => claimOf(name, { className: 'special', size, block });
          const fill = `yes ${pattern} | head -c ${sizeMi * 2 ** 20} > /data/file; sync; ls -l /data/file`;
          await cluster.apply(classOf('special', { parameters: { backend: 'loopback', provisioning } }));
          await owner.apply(
            own('raw', true),
            own('files'),
            claimOf('folder', { className: 'loam-directory', size }),
            podOf('raw', 'raw', { node, block: true }),
            podOf('files', 'files', { node, first: fill }),
            podOf('folder', 'folder', { node, first: fill }),
          );
          for (const pod of ['raw', 'files', 'folder']) await owner.untilRunning(pod);
          await owner.sh('raw', `yes ${pattern} | dd of=/dev/volume bs=1M 2>/dev/null; sync`);
          // that the search finds what is there, in each of them to the last block
          expect(Number(await owner.sh('raw', written))).toBe(sizeMi * 2 ** 20);
          const perMi = Math.floor(2 ** 20 / (pattern.length + 1));
          expect(Number(await owner.sh('raw', found(pattern, '/dev/volume')))).toBeGreaterThan(
            perMi * sizeMi - 1,
          );
          for (const pod of ['files', 'folder'])
            expect(Number(await owner.sh(pod, found(pattern, '/data/file')))).toBeGreaterThan(
              perMi * sizeMi * 0.7,
            );
          const before = await blocksOfImages();
          await removeVolumes(owner);

          const claims = Array.from({ length: 5 }, (_, index) => `raw-${index}`);
          await stranger.apply(
            ...claims.flatMap((name) => [own(name, true), podOf(name, name, { node, block: true })]),
            own('files'),
            podOf('files', 'files', { node }),
            claimOf('folder', { className: 'loam-directory' }),
            podOf('folder', 'folder', { node }),
          );
          // blocks that get their first bytes now
          const some =
            'for at in 1 17 33; do echo mine | dd of=/dev/volume bs=5 seek=$((at * 200001)) conv=notrunc 2>/dev/null; done; sync';
          for (const name of claims) {
            await stranger.untilRunning(name);
            const lines = ['wc -c < /dev/volume', written, some, written].join('\n');
            expect((await stranger.sh(name, lines)).split('\n')).toEqual([
              String(sizeMi * 2 ** 20),
              '0',
              '15',
            ]);
          }
          const after = await blocksOfImages();
          const reused = [...after].filter((block) => before.has(block)).length;
          console.log(
            `${provisioning}: ${before.size} blocks of 4 KiB were in images before, ${after.size} are now, ${reused} of them the same`,
          );
          for (const name of ['files', 'folder']) {
            await stranger.untilRunning(name);
            expect(await stranger.sh(name, `grep -r ${pattern} /data | wc -l`)).toBe('0');
            expect(await stranger.sh(name, 'find /data -type f | wc -l')).toBe('0');
          }
          // the images themselves, with what no pod is shown of them: the node's grep knows binary files
          for (const image of await images())
            expect(await onNode(node, 'sh', '-c', `grep -c -a ${pattern} ${image}; true`)).toBe('0');
        },
      );

      it('leave nothing in the very blocks of a volume whose class scrubs, before they are given back', async () => {
        await using owner = await OwnNamespace.open();
        const pattern = `tenant-a-${randomBytes(8).toString('hex')}`;
        const first = `yes ${pattern} | dd of=/data/file bs=1M count=20 2>/dev/null; sync`;
        await owner.apply(
          claimOf('data', { className: 'loam-scrub', size: '32Mi' }),
          podOf('owner', 'data', { node, first }),
        );
        await owner.untilRunning('owner');
        const [image] = await images();
        // what is open keeps its blocks when the file is removed, so that they can be looked at afterwards
        const file = await open(folderOfNode(node, image ?? '/var/none'));
        try {
          const read = () => readFileSync(`/proc/self/fd/${file.fd}`);
          const { size } = await file.stat();
          expect(read().includes(pattern)).toBe(true);
          await removeVolumes(owner);
          await assertPoolEmpty(folderOfNode(node, poolPath), 60_000);
          const { nlink } = await file.stat();
          const left = read();
          console.log(`scrubbed image: ${left.length} of ${size} bytes left to look at, ${nlink} links`);
          expect(nlink).toBe(0);
          expect(left.length).toBe(size);
          expect(left.some((byte) => byte !== 0)).toBe(false);
        } finally {
          await file.close();
        }
      });
    });
  },
);

/** The images on the node. */
async function images(): Promise<readonly `/var/${string}`[]> {
  const text = await onNode(node, 'find', `${poolPath}/volumes`, '-name', 'image');
  return text.split('\n').filter((path): path is `/var/${string}` => path.startsWith('/var/'));
}

/** The numbers of all blocks of the node's disk that are in images. */
async function blocksOfImages(): Promise<ReadonlySet<number>> {
  const blocks = new Set<number>();
  for (const image of await images()) {
    const text = await onNode(node, 'filefrag', '-v', '-s', '-b4096', image);
    for (const [, start, length] of text.matchAll(/^ +\d+: +\d+\.\. +\d+: +(\d+)\.\. +\d+: +(\d+):/gm))
      for (let at = 0; at < Number(length); at += 1) blocks.add(Number(start) + at);
  }
  return blocks;
}
