import { afterAll, describe, expect, it } from 'vitest';
import { removeAll } from '../support/cluster-leftovers.ts';
import { loamOn } from '../support/loam-command.ts';
import { claimOf, classOf, podOf } from '../support/pods.ts';
import { clusterScript, nodesOfCluster, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const byName = classOf('by-name', { parameters: { adopt: 'by-name' } });
const claims = ['shop', 'mail'] as const;

async function start(first: string): Promise<void> {
  await cluster.apply(
    byName,
    claimOf('plain'),
    podOf('plain', 'plain', { first }),
    ...claims.flatMap((name) => [claimOf(name, { className: 'by-name' }), podOf(name, name, { first })]),
  );
  for (const name of [...claims, 'plain']) await cluster.untilRunning(name, 120_000);
}

describe.skipIf(why !== undefined)(
  `a cluster made again over the pools of the last${why === undefined ? '' : ` (${why})`}`,
  () => {
    afterAll(async () => {
      await removeAll(cluster);
      await cluster.remove('storageclass', 'by-name');
    }, 300_000);

    it(
      'finds its data by namespace and claim name where the class says so, and lists the rest',
      { timeout: 600_000 },
      async () => {
        const sign =
          '[ -f /data/sign ] || hostname > /data/sign; cat /proc/sys/kernel/random/uuid >> /data/sign; sync';
        await start(sign);
        const before = new Map<string, { readonly text: string; readonly node: string }>();
        for (const name of [...claims, 'plain']) {
          before.set(name, {
            text: await cluster.sh(name, 'cat /data/sign'),
            node: await cluster.nodeOf(name),
          });
        }
        const plainHandle = await cluster.field('pvc', 'plain', '.spec.volumeName');
        const uid = await cluster.field('namespace', 'kube-system', '.metadata.uid');

        await clusterScript('renew');
        expect(await cluster.field('namespace', 'kube-system', '.metadata.uid')).not.toBe(uid);
        expect(await cluster.kubectl(['get', 'pv', '--output=name'])).toBe('');
        await start(sign);
        console.log(await cluster.kubectl(['get', 'pv,pvc']));
        for (const name of claims) {
          const text = await cluster.sh(name, 'cat /data/sign');
          expect(text.split('\n')).toEqual([
            ...(before.get(name)?.text.split('\n') ?? []),
            expect.any(String),
          ]);
          expect(await cluster.nodeOf(name)).toBe(before.get(name)?.node);
          expect(await cluster.field('pvc', name, '.spec.volumeName')).toMatch(/^adopted-/);
        }
        // nobody asked for that one to be found again: it is there, told, and not taken for the new one
        expect((await cluster.sh('plain', 'cat /data/sign')).split('\n')).toHaveLength(2);
        const plans = await Promise.all(
          nodesOfCluster().map((node) => loamOn(cluster, node, 'gc', '--dry-run')),
        );
        expect(plans.join('\n')).toContain(plainHandle);
        const node = before.get('plain')?.node ?? '';
        await loamOn(cluster, node, 'gc', '--remove', plainHandle, '--yes');
      },
    );
  },
);
