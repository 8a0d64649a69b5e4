import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poolPath, removeRest } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { kubectlLoam, loamOn } from '../support/loam-command.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { assertGoneFromPool } from '../support/pool-leftovers.ts';
import { folderOfNode, nodesOfCluster, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
/** where events about PVs are, too */
const everywhere = new RealCluster();
const directory = { backend: 'directory', limit: 'advisory' };
const classes: Readonly<Record<string, object>> = {
  'end-retained': { parameters: { retainFor: '1h' } },
  'end-archived': { parameters: { ...directory, onDelete: 'archive' } },
  'end-kept': { reclaimPolicy: 'Retain' },
  'end-recycled': { reclaimPolicy: 'Retain', parameters: { onRelease: 'recycle' } },
};

interface Written {
  readonly claim: string;
  readonly volume: string;
  readonly node: string;
  readonly handle: string;
  readonly bytes: string;
}

/** A claim with a file in it, whose pod is gone again. */
async function writtenClaim(cluster: RealCluster, className: string): Promise<Written> {
  const claim = freshName('data');
  const first = 'head -c 3000000 /dev/urandom > /data/file && sync';
  await cluster.apply(claimOf(claim, { className }), podOf('writer', claim, { first }));
  await cluster.untilRunning('writer');
  const bytes = await cluster.sh('writer', 'md5sum /data/file');
  const node = await cluster.nodeOf('writer');
  const volume = await cluster.field('pvc', claim, '.spec.volumeName');
  const handle = await cluster.field('pv', volume, '.spec.csi.volumeHandle');
  await cluster.remove('pod', 'writer');
  return { claim, volume, node, handle, bytes };
}

async function release(cluster: RealCluster, { claim, volume }: Written): Promise<void> {
  await cluster.remove('pvc', claim);
  await cluster.untilField('pv', volume, '.status.phase', 'Released');
}

async function expectSameBytes(cluster: RealCluster, { claim, bytes }: Written): Promise<void> {
  await cluster.apply(podOf('reader', claim));
  await cluster.untilRunning('reader');
  expect(await cluster.sh('reader', 'md5sum /data/file')).toBe(bytes);
  await cluster.remove('pod', 'reader');
}

async function show(title: string): Promise<void> {
  console.log(`${title}\n${await everywhere.kubectl(['get', 'pv'])}`);
}

function untilGone(volume: string): Promise<void> {
  return everywhere.untilField('pv', volume, '.metadata.name', '', 90_000);
}

function setPolicy(volume: string, policy: string): Promise<string> {
  const patch = JSON.stringify({ spec: { persistentVolumeReclaimPolicy: policy } });
  return everywhere.kubectl(['patch', 'pv', volume, `--patch=${patch}`]);
}

describe.skipIf(why !== undefined)(
  `a volume whose claim is deleted${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    beforeAll(async () => {
      await everywhere.apply(...Object.entries(classes).map(([name, extra]) => classOf(name, extra)));
    });
    afterAll(async () => {
      // what a test that failed has left must not be kept for an hour
      const notes = ['loam.dev/retain-for-', 'loam.dev/retained-until-'];
      await everywhere.kubectl(['annotate', 'pv', '--all', ...notes]);
      await removeRest(everywhere);
      await everywhere.remove('storageclass', ...Object.keys(classes));
      for (const node of nodesOfCluster())
        expect(await loamOn(everywhere, node, 'gc', '--dry-run')).toMatch(/nothing to do/);
    });

    it('is erased and gone with policy Delete and onDelete: scrub', async () => {
      await using cluster = await OwnNamespace.open();
      const written = await writtenClaim(cluster, 'loam-scrub');
      await cluster.remove('pvc', written.claim);
      await untilGone(written.volume);
      await assertGoneFromPool(folderOfNode(written.node, poolPath), written, 30_000);
    });

    it('stays for retainFor, is given back by loam undelete with the same bytes, and goes when its time is set to now', async () => {
      await using cluster = await OwnNamespace.open();
      const written = await writtenClaim(cluster, 'end-retained');
      await release(cluster, written);
      const until = '.metadata.annotations.loam\\.dev/retained-until';
      // a moment after the phase
      const untilTimed = () =>
        eventually('the end of its time', async () => {
          const time = await cluster.field('pv', written.volume, until);
          return time !== '' && time;
        });
      const time = await untilTimed();
      expect(Date.parse(time) - Date.now()).toBeGreaterThan(3_000_000);
      console.log(await everywhere.untilEvent(written.volume, /VolumeRetained/));
      await show('retained');
      console.log(await kubectlLoam('undelete', written.volume, '--apply'));
      await cluster.untilBound([written.claim]);
      await show('undeleted');
      await expectSameBytes(cluster, written);
      expect(await cluster.field('pv', written.volume, until)).toBe('');
      await release(cluster, written);
      await untilTimed();
      const now = `loam.dev/retained-until=${new Date().toISOString()}`;
      await cluster.kubectl(['annotate', '--overwrite', 'pv', written.volume, now]);
      await untilGone(written.volume);
      await assertGoneFromPool(folderOfNode(written.node, poolPath), written, 30_000);
    });

    it('is moved aside with onDelete: archive, where its bytes are kept, and goes from there when that is asked for', async () => {
      await using cluster = await OwnNamespace.open();
      const written = await writtenClaim(cluster, 'end-archived');
      await cluster.remove('pvc', written.claim);
      await untilGone(written.volume);
      const folder = `${folderOfNode(written.node, poolPath)}/archive/${written.handle}`;
      expect(readFileSync(`${folder}/data/file`)).toHaveLength(3_000_000);
      expect(readFileSync(`${folder}/volume.json`, 'utf8')).toContain(written.claim);
      const plan = await loamOn(cluster, written.node, 'gc', '--dry-run');
      console.log(plan);
      expect(plan).toContain(written.handle);
      console.log(await kubectlLoam(`--node=${written.node}`, 'gc', '--archive', written.handle, '--yes'));
      await assertGoneFromPool(folderOfNode(written.node, poolPath), written, 30_000);
    });

    it('is left as it is with policy Retain; without its PV it is an orphan, which is told, adopted and has the same bytes', async () => {
      await using cluster = await OwnNamespace.open();
      const written = await writtenClaim(cluster, 'end-kept');
      await release(cluster, written);
      await cluster.remove('pv', written.volume);
      const plan = await loamOn(cluster, written.node, 'gc', '--dry-run');
      console.log(plan);
      expect(plan).toContain(written.handle);
      console.log(
        await loamOn(
          cluster,
          written.node,
          'adopt',
          written.handle,
          `--claim=${cluster.namespace}/${written.claim}`,
          '--class=end-kept',
          '--apply',
        ),
      );
      const adopted = `adopted-${written.handle}`;
      await cluster.apply(claimOf(written.claim, { className: 'end-kept' }));
      await cluster.untilBound([written.claim]);
      expect(await cluster.field('pvc', written.claim, '.spec.volumeName')).toBe(adopted);
      await show('adopted');
      await expectSameBytes(cluster, written);
      await release(cluster, { ...written, volume: adopted });
      // a change of mind in the end counts
      await setPolicy(adopted, 'Delete');
      await untilGone(adopted);
    });

    it('is emptied and offered again with onRelease: recycle, and the next claim gets it, empty', async () => {
      await using cluster = await OwnNamespace.open();
      const written = await writtenClaim(cluster, 'end-recycled');
      const uid = await cluster.field('pv', written.volume, '.metadata.uid');
      const beganMs = performance.now();
      await cluster.remove('pvc', written.claim);
      await cluster.untilField('pv', written.volume, '.status.phase', 'Available');
      console.log(`available again after ${Math.round(performance.now() - beganMs)} ms`);
      console.log(await everywhere.untilEvent(written.volume, /VolumeRecycled/));
      await show('recycled');
      const next = freshName('next');
      // elsewhere the scheduler would have a new one made
      await cluster.apply(
        claimOf(next, { className: 'end-recycled' }),
        podOf('reader', next, { node: written.node }),
      );
      await cluster.untilRunning('reader');
      expect(await cluster.field('pvc', next, '.spec.volumeName')).toBe(written.volume);
      expect(await cluster.field('pv', written.volume, '.metadata.uid')).toBe(uid);
      expect(await cluster.sh('reader', 'ls -A /data | grep -v lost+found | wc -l')).toBe('0');
      await cluster.remove('pod', 'reader');
      await setPolicy(written.volume, 'Delete');
      await cluster.remove('pvc', next);
      await untilGone(written.volume);
    });

    it('is emptied likewise as a static PV with policy Recycle, written by hand', async () => {
      await using cluster = await OwnNamespace.open();
      const written = await writtenClaim(cluster, 'end-kept');
      await release(cluster, written);
      const text = await cluster.kubectl(['get', 'pv', written.volume, '--output=json']);
      const { spec } = JSON.parse(text) as { readonly spec: Readonly<Record<string, unknown>> };
      await cluster.remove('pv', written.volume);
      const { claimRef: _, ...rest } = spec;
      const name = freshName('static');
      await cluster.apply({
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name },
        spec: { ...rest, storageClassName: 'by-hand', persistentVolumeReclaimPolicy: 'Recycle' },
      });
      const again = { ...written, claim: freshName('again') };
      await cluster.apply(claimOf(again.claim, { className: 'by-hand', volumeName: name }));
      await cluster.untilBound([again.claim]);
      await expectSameBytes(cluster, again);
      await cluster.remove('pvc', again.claim);
      await cluster.untilField('pv', name, '.status.phase', 'Available');
      await show('recycled');
      expect(await cluster.field('pv', name, '.spec.persistentVolumeReclaimPolicy')).toBe('Retain');
      const next = freshName('next');
      await cluster.apply(claimOf(next, { className: 'by-hand', volumeName: name }), podOf('reader', next));
      await cluster.untilRunning('reader');
      expect(await cluster.sh('reader', 'ls -A /data | grep -v lost+found | wc -l')).toBe('0');
      await cluster.remove('pod', 'reader');
      await setPolicy(name, 'Delete');
      await cluster.remove('pvc', next);
      await untilGone(name);
    });
  },
);
