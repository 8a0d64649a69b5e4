import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poolPath, removeAll } from '../support/cluster-leftovers.ts';
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

async function name(claim: string, attributes: string): Promise<void> {
  const patch = JSON.stringify({ spec: { volumeAttributesClassName: attributes } });
  await cluster.kubectl(['patch', 'pvc', claim, `--patch=${patch}`]);
}

/** Where the claim's image lies, and on which node. */
async function imageOf(
  claim: string,
  pod: string,
): Promise<{ readonly node: string; readonly path: string }> {
  const volume = await cluster.field('pvc', claim, '.spec.volumeName');
  const handle = await cluster.field('pv', volume, '.spec.csi.volumeHandle');
  return { node: await cluster.nodeOf(pod), path: `${poolPath}/volumes/${handle}/image` };
}

describe.skipIf(why !== undefined)(
  `what a claim's volume is and how it is${why === undefined ? '' : ` (${why})`}`,
  () => {
    beforeAll(() =>
      cluster.apply(
        attributesOf('thick', { provisioning: 'thick' }),
        attributesOf('elsewhere', { backend: 'btrfs' }),
      ),
    );
    afterEach(() => removeAll(cluster));
    afterAll(() => cluster.remove('volumeattributesclass', 'thick', 'elsewhere'));

    it('changes under its pod when the claim names a VolumeAttributesClass: a thin image has all its blocks', async () => {
      const claim = freshName('claim');
      await cluster.apply(
        claimOf(claim, { size: '128Mi' }),
        podOf('user', claim, { first: 'echo kept > /data/file' }),
      );
      await cluster.untilRunning('user');
      const { node, path } = await imageOf(claim, 'user');
      const taken = async (): Promise<number> =>
        Number(await onNode(node, 'sh', '-c', `du -k ${path} | cut -f1`)) * 1024;
      expect(await taken()).toBeLessThan(64 * MiB);
      await name(claim, 'thick');
      await cluster.untilField('pvc', claim, '.status.currentVolumeAttributesClassName', 'thick');
      expect(await taken()).toBeGreaterThanOrEqual(128 * MiB);
      expect(await cluster.sh('user', 'cat /data/file')).toBe('kept');
      await cluster.untilEvent(claim, /VolumeModifySuccessful/);
    });

    it('stays as it is where the class asks for what nobody can change, and the claim is told by name', async () => {
      const claim = freshName('claim');
      await cluster.apply(claimOf(claim), podOf('user', claim));
      await cluster.untilRunning('user');
      await name(claim, 'elsewhere');
      expect(await cluster.untilEvent(claim, /VolumeModifyFailed/)).toMatch(/"?backend"?.*onDelete/);
      await cluster.untilField('pvc', claim, '.status.modifyVolumeStatus.status', 'Infeasible');
      expect(await cluster.sh('user', 'echo well > /data/file && cat /data/file')).toBe('well');
    });

    it('is told on the claim when something is wrong with it, and when that is over', async () => {
      const claim = freshName('claim');
      await cluster.apply(claimOf(claim), podOf('user', claim));
      await cluster.untilRunning('user');
      const { node, path } = await imageOf(claim, 'user');
      await onNode(node, 'mv', path, `${path}.away`);
      // each volume is looked at when Loam starts, and once a minute
      await cluster.killLoam(node);
      const said = await cluster.untilEvent(claim, /VolumeConditionAbnormal/, 90_000);
      expect(said).toMatch(/image .* is gone; restore it/);
      await onNode(node, 'mv', `${path}.away`, path);
      await cluster.untilEvent(claim, /VolumeConditionNormal/, 90_000);
    });
  },
);
