import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const parameters = { backend: 'directory', limit: 'advisory' };
const waits = { discoverEveryMs: 1_000, discoverSettledMs: 1_000 };

describe.skipIf(!isRoot).each(planeNames)(
  `a discovery folder, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it('turns folders into Available PVs, which claims get with what is in them, and which outlive their data', async () => {
      await using world = await LoopWorld.open(plane, 'process', { noNode: true });
      const { user, folder } = world;
      const className = await user.createClass({ parameters });
      const pools = [`p=${join(folder, 'p')},discover=${className}:32Mi`];
      const node = await world.addNode({ pools, waits });
      // as people should: filled elsewhere on the disk, and moved
      const half = join(folder, 'p', 'discovery', '.orders');
      await mkdir(half, { recursive: true });
      await writeFile(join(half, 'file'), 'precious');
      await rename(half, join(folder, 'p', 'discovery', 'orders'));

      const volume = await eventually('an Available PV', () => availableOf(world), 40_000);
      expect(volume).toMatchObject({
        metadata: { annotations: { 'loam.dev/adopted': 'discovered' } },
        spec: { storageClassName: className, persistentVolumeReclaimPolicy: 'Retain' },
      });
      expect(volume.spec.capacity?.['storage']).toBe('32Mi');

      const claim = await user.createClaim({ className, spec: { volumeName: volume.metadata.name } });
      const bound = await user.untilBound(claim);
      const pod = world.podWith(bound);
      const path = await pod.start();
      expect(await readFile(join(path, 'file'), 'utf8')).toBe('precious');
      await pod.stop();
      await node.stop();

      // the next process finds the PV as it is, and makes no second one
      const next = await world.addNode({ pools, waits });
      await rename(dataOf(folder, bound), join(folder, 'away'));
      await user.untilEvent(bound, 'DiscoveredVolumeMissing', 'the PersistentVolume is kept');
      await expect(world.podWith(bound, 'pod-2').start()).rejects.toThrow(/is gone/);
      await rename(join(folder, 'away'), dataOf(folder, bound));
      const again = world.podWith(bound, 'pod-3');
      expect(await readFile(join(await again.start(), 'file'), 'utf8')).toBe('precious');
      await again.stop();
      expect(await user.volumes()).toHaveLength(1);
      expect(next.stack.controller.held()).toHaveLength(1);

      await user.edit('PersistentVolume', bound, { spec: { persistentVolumeReclaimPolicy: 'Delete' } });
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolume', bound);
      await world.assertNothingLeft();
    });
  },
);

async function availableOf({ user }: LoopWorld): Promise<PersistentVolume | undefined> {
  const [first] = await user.volumes();
  return first?.status?.phase === 'Available' ? first : undefined;
}

function dataOf(folder: string, { spec }: PersistentVolume): string {
  return join(folder, 'p', 'volumes', spec.csi?.volumeHandle ?? '', 'data');
}
