import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poolPath, removeRest } from '../support/cluster-leftovers.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, freshName, podOf } from '../support/pods.ts';
import { onNode, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const MiB = 1024 * 1024;

const attributesOf = (name: string, parameters: Readonly<Record<string, string>>): object => ({
  apiVersion: 'storage.k8s.io/v1',
  kind: 'VolumeAttributesClass',
  metadata: { name },
  driverName: 'loam.dev',
  parameters,
});

async function name(cluster: RealCluster, claim: string, attributes: string): Promise<void> {
  const patch = JSON.stringify({ spec: { volumeAttributesClassName: attributes } });
  await cluster.kubectl(['patch', 'pvc', claim, `--patch=${patch}`]);
}

/** Where the claim's image lies, and on which node. */
async function imageOf(
  cluster: RealCluster,
  claim: string,
  pod: string,
): Promise<{ readonly node: string; readonly path: string }> {
  const volume = await cluster.field('pvc', claim, '.spec.volumeName');
  const handle = await cluster.field('pv', volume, '.spec.csi.volumeHandle');
  return { node: await cluster.nodeOf(pod), path: `${poolPath}/volumes/${handle}/image` };
}

describe.skipIf(why !== undefined)(
  `what a claim's volume is and how it is${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    beforeAll(() =>
      cluster.apply(
        attributesOf('thick', { provisioning: 'thick' }),
        attributesOf('elsewhere', { backend: 'btrfs' }),
      ),
    );
    afterAll(async () => {
      await removeRest(cluster);
      await cluster.remove('volumeattributesclass', 'thick', 'elsewhere');
    });

    it('changes under its pod when the claim names a VolumeAttributesClass: a thin image has all its blocks', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(
        claimOf(claim, { size: '128Mi' }),
        podOf('user', claim, { first: 'echo kept > /data/file' }),
      );
      await cluster.untilRunning('user');
      const { node, path } = await imageOf(cluster, claim, 'user');
      const taken = async (): Promise<number> =>
        Number(await onNode(node, 'sh', '-c', `du -k ${path} | cut -f1`)) * 1024;
      expect(await taken()).toBeLessThan(64 * MiB);
      await name(cluster, claim, 'thick');
      await cluster.untilField('pvc', claim, '.status.currentVolumeAttributesClassName', 'thick');
      expect(await taken()).toBeGreaterThanOrEqual(128 * MiB);
      expect(await cluster.sh('user', 'cat /data/file')).toBe('kept');
      await cluster.untilEvent(claim, /VolumeModifySuccessful/);
    });

    it('stays as it is where the class asks for what nobody can change, and the claim is told by name', async () => {
      await using cluster = await OwnNamespace.open();
      const claim = freshName('claim');
      await cluster.apply(claimOf(claim), podOf('user', claim));
      await cluster.untilRunning('user');
      await name(cluster, claim, 'elsewhere');
      expect(await cluster.untilEvent(claim, /VolumeModifyFailed/)).toMatch(/"?backend"?.*onDelete/);
      await cluster.untilField('pvc', claim, '.status.modifyVolumeStatus.status', 'Infeasible');
      expect(await cluster.sh('user', 'echo well > /data/file && cat /data/file')).toBe('well');
    });
  },
);
