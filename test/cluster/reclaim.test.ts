import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poolPath, removeAll } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { kubectlLoam, loamOn } from '../support/loam-command.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import { assertPoolEmpty } from '../support/pool-leftovers.ts';
import { folderOfNode, nodesOfCluster, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
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
async function writtenClaim(className: string, claim = freshName('data')): Promise<Written> {
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

async function release({ claim, volume }: Written): Promise<void> {
  await cluster.remove('pvc', claim);
  await cluster.untilField('pv', volume, '.status.phase', 'Released');
}

async function expectSameBytes({ claim, bytes }: Written): Promise<void> {
  await cluster.apply(podOf('reader', claim));
  await cluster.untilRunning('reader');
  expect(await cluster.sh('reader', 'md5sum /data/file')).toBe(bytes);
  await cluster.remove('pod', 'reader');
}

async function show(title: string): Promise<void> {
  console.log(`${title}\n${await cluster.kubectl(['get', 'pv'])}`);
}

function untilGone(volume: string): Promise<void> {
  return cluster.untilField('pv', volume, '.metadata.name', '', 90_000);
}

function setPolicy(volume: string, policy: string): Promise<string> {
  const patch = JSON.stringify({ spec: { persistentVolumeReclaimPolicy: policy } });
  return cluster.kubectl(['patch', 'pv', volume, `--patch=${patch}`]);
}

describe.skipIf(why !== undefined)(
  `a volume whose claim is deleted${why === undefined ? '' : ` (${why})`}`,
  () => {
    beforeAll(async () => {
      await cluster.apply(...Object.entries(classes).map(([name, extra]) => classOf(name, extra)));
    });
    afterEach(async () => {
      // what a test that failed has left must not be kept for an hour
      await cluster.kubectl(['annotate', 'pv', '--all', 'loam.dev/retain-for-', 'loam.dev/retained-until-']);
      await removeAll(cluster);
    });
    afterAll(async () => {
      await cluster.remove('storageclass', ...Object.keys(classes));
      for (const node of nodesOfCluster())
        expect(await loamOn(cluster, node, 'gc', '--dry-run')).toMatch(/nothing to do/);
    });

    it('is erased and gone with policy Delete and onDelete: scrub', async () => {
      const written = await writtenClaim('loam-scrub');
      await cluster.remove('pvc', written.claim);
      await untilGone(written.volume);
      await assertPoolEmpty(folderOfNode(written.node, poolPath), 10_000);
    });

    it('stays for retainFor, is given back by loam undelete with the same bytes, and goes when its time is set to now', async () => {
      const written = await writtenClaim('end-retained');
      await release(written);
      const until = '.metadata.annotations.loam\\.dev/retained-until';
      const time = await eventually('the end of its time', () => cluster.field('pv', written.volume, until));
      expect(Date.parse(time) - Date.now()).toBeGreaterThan(3_000_000);
      console.log(await cluster.untilEvent(written.volume, /VolumeRetained/));
      await show('retained');
      console.log(await kubectlLoam('undelete', written.volume, '--apply'));
      await cluster.untilBound([written.claim]);
      await show('undeleted');
      await expectSameBytes(written);
      expect(await cluster.field('pv', written.volume, until)).toBe('');
      await release(written);
      await eventually('the end of its time', () => cluster.field('pv', written.volume, until));
      const now = `loam.dev/retained-until=${new Date().toISOString()}`;
      await cluster.kubectl(['annotate', '--overwrite', 'pv', written.volume, now]);
      await untilGone(written.volume);
      await assertPoolEmpty(folderOfNode(written.node, poolPath), 30_000);
    });

    it('is moved aside with onDelete: archive, where its bytes are kept, and goes from there when that is asked for', async () => {
      const written = await writtenClaim('end-archived');
      await cluster.remove('pvc', written.claim);
      await untilGone(written.volume);
      const folder = `${folderOfNode(written.node, poolPath)}/archive/${written.handle}`;
      expect(readFileSync(`${folder}/data/file`)).toHaveLength(3_000_000);
      expect(readFileSync(`${folder}/volume.json`, 'utf8')).toContain(written.claim);
      const plan = await loamOn(cluster, written.node, 'gc', '--dry-run');
      console.log(plan);
      expect(plan).toContain(written.handle);
      console.log(await kubectlLoam(`--node=${written.node}`, 'gc', '--archive', written.handle, '--yes'));
      await assertPoolEmpty(folderOfNode(written.node, poolPath), 30_000);
    });

    it('is left as it is with policy Retain; without its PV it is an orphan, which is told, adopted and has the same bytes', async () => {
      const written = await writtenClaim('end-kept');
      await release(written);
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
          `--claim=default/${written.claim}`,
          '--class=end-kept',
          '--apply',
        ),
      );
      const adopted = `adopted-${written.handle}`;
      await cluster.apply(claimOf(written.claim, { className: 'end-kept' }));
      await cluster.untilBound([written.claim]);
      expect(await cluster.field('pvc', written.claim, '.spec.volumeName')).toBe(adopted);
      await show('adopted');
      await expectSameBytes(written);
      await release({ ...written, volume: adopted });
      // a change of mind in the end counts
      await setPolicy(adopted, 'Delete');
      await untilGone(adopted);
    });

    it('is emptied and offered again with onRelease: recycle, and the next claim gets it, empty', async () => {
      const written = await writtenClaim('end-recycled');
      const uid = await cluster.field('pv', written.volume, '.metadata.uid');
      const beganMs = performance.now();
      await cluster.remove('pvc', written.claim);
      await cluster.untilField('pv', written.volume, '.status.phase', 'Available');
      console.log(`available again after ${Math.round(performance.now() - beganMs)} ms`);
      console.log(await cluster.untilEvent(written.volume, /VolumeRecycled/));
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
      const written = await writtenClaim('end-kept');
      await release(written);
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
      await expectSameBytes(again);
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
