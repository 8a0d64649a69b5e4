import { afterAll, describe, expect, it } from 'vitest';
import { removeRest } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, freshName, podOf, signOnce, statefulSetOf } from '../support/pods.ts';
import { RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();

describe.skipIf(why !== undefined)(
  `ways to ask for a volume${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    const classes: string[] = [];
    /** @returns its name, which no other test has */
    async function specialClass(cluster: RealCluster, extra: object): Promise<string> {
      const name = freshName('special');
      classes.push(name);
      await cluster.apply(classOf(name, extra));
      return name;
    }

    afterAll(async () => {
      const cluster = new RealCluster();
      await removeRest(cluster);
      await cluster.remove('storageclass', ...classes);
    });

    it.each(['xfs', 'btrfs'])('makes %s where the class says so, mounted with its options', async (type) => {
      await using cluster = await OwnNamespace.open();
      const parameters = { 'csi.storage.k8s.io/fstype': type };
      const className = await specialClass(cluster, { parameters, mountOptions: ['noatime'] });
      await cluster.apply(
        // the smallest xfs takes 300 MiB
        claimOf('typed', { className, size: '320Mi' }),
        podOf('user', 'typed', { first: 'echo text > /data/file' }),
      );
      await cluster.untilRunning('user');
      expect(await cluster.sh('user', 'grep " /data " /proc/mounts')).toMatch(
        new RegExp(` ${type} .*noatime`),
      );
    });

    it('refuses ReadWriteMany with the advice that makes it work', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = (name: string, className: string) =>
        claimOf(name, { className, accessMode: 'ReadWriteMany' });
      await cluster.apply(claim('refused', 'loam'), podOf('pending', 'refused'));
      expect(await cluster.untilEvent('refused', /ProvisioningFailed/)).toMatch(/sharing/);
      await cluster.apply(
        claim('many', await specialClass(cluster, { parameters: { sharing: 'node' } })),
        podOf('left', 'many', { first: 'echo seen > /data/by-both' }),
        podOf('right', 'many'),
      );
      await cluster.untilRunning('left');
      await cluster.untilRunning('right');
      expect(await cluster.sh('right', 'cat /data/by-both')).toBe('seen');
    });

    it('tells on the claim that no node has room for it', async () => {
      await using cluster = await OwnNamespace.open();
      await cluster.apply(claimOf('huge', { size: '900Ti' }), podOf('pending', 'huge'));
      expect(await cluster.untilEvent('huge', /ProvisioningFailed/)).toMatch(/900/);
      expect(await cluster.field('pod', 'pending', '.status.phase')).toBe('Pending');
    });

    it('gives a generic ephemeral volume that goes with its pod', async () => {
      await using cluster = await OwnNamespace.open();
      const pod = podOf('short', 'unused', { first: 'echo text > /data/file' }) as {
        readonly spec: { readonly volumes: readonly object[] };
      };
      const { spec } = claimOf('template') as { readonly spec: object };
      const volumes = [{ name: 'volume', ephemeral: { volumeClaimTemplate: { spec } } }];
      await cluster.apply({ ...pod, spec: { ...pod.spec, volumes } });
      await cluster.untilRunning('short');
      expect(await cluster.sh('short', 'cat /data/file')).toBe('text');
      const volume = await cluster.field('pvc', 'short-volume', '.spec.volumeName');
      await cluster.remove('pod', 'short');
      await eventually(
        'the PV gone',
        async () => (await cluster.field('pv', volume, '.metadata.name')) === '',
        60_000,
      );
    });

    it('mounts a subPath of a volume', async () => {
      await using cluster = await OwnNamespace.open();
      const pod = podOf('part', 'whole', { first: 'echo text > /data/file' });
      const text = JSON.stringify(pod).replace(
        '"mountPath":"/data"',
        '"mountPath":"/data","subPath":"inner/part"',
      );
      await cluster.apply(claimOf('whole'), JSON.parse(text) as object, podOf('all', 'whole'));
      await cluster.untilRunning('part');
      await cluster.untilRunning('all');
      expect(await cluster.sh('all', 'cat /data/inner/part/file')).toBe('text');
    });

    it('gives each replica of a StatefulSet its own volume, and the same one again', async () => {
      await using cluster = await OwnNamespace.open();
      const replicas = ['set-0', 'set-1', 'set-2'];
      const signs = () => Promise.all(replicas.map((name) => cluster.sh(name, 'cat /data/sign')));
      await cluster.apply(statefulSetOf('set', { replicas: 3, pod: { first: signOnce } }));
      for (const name of replicas) await cluster.untilRunning(name);
      const before = await signs();
      expect(before).toEqual(replicas.map((name) => expect.stringContaining(name) as string));
      await cluster.kubectl(['scale', 'statefulset', 'set', '--replicas=0']);
      await cluster.untilField('statefulset', 'set', '.status.replicas', '0');
      await cluster.kubectl(['scale', 'statefulset', 'set', '--replicas=3']);
      for (const name of replicas) await cluster.untilRunning(name);
      expect(await signs()).toEqual(before);
    });

    it('shows a new claim nothing of what a deleted one held', async () => {
      await using cluster = await OwnNamespace.open();
      const secret = 'belongs-to-another-namespace';
      for (const round of [1, 2]) {
        const [claim, pod] = [`block-${round}`, `reader-${round}`];
        await cluster.apply(claimOf(claim, { block: true }), podOf(pod, claim, { block: true }));
        await cluster.untilRunning(pod);
        expect(await cluster.sh(pod, `grep -c ${secret} /dev/volume; true`)).toBe('0');
        await cluster.sh(pod, `yes ${secret} | head -c 60000000 > /dev/volume; sync`);
        expect(await cluster.sh(pod, `head -c 4096 /dev/volume | grep -c ${secret}; true`)).not.toBe('0');
        await cluster.remove('pod', pod);
        await cluster.remove('pvc', claim);
      }
    });
  },
);
