import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { FoundDisk } from '../../support/found-disk.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const waits = { discoverEveryMs: 1_000, discoverSettledMs: 1_000 };

describe.skipIf(!isRoot).each(planeNames)(
  `disks that are mounted in a discovery folder, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it('become Available PVs, which claims get, which wait for a disk that is away, and are emptied and offered anew', async () => {
      await using world = await LoopWorld.open(plane, 'process', { noNode: true });
      const { user, folder } = world;
      const className = await user.createClass({ parameters: { limit: 'advisory' } });
      await world.addNode({ pools: [`p=${join(folder, 'p')},discover=${className}`], waits });
      using disk = FoundDisk.make(join(folder, 'disks'), 'a', 'ext4');
      using other = FoundDisk.make(join(folder, 'disks'), 'b', 'ext4');
      const path = join(folder, 'p', 'discovery', 'sdb');
      disk.mount(path);
      await writeFile(join(path, 'file'), 'precious');

      const volume = await eventually('an Available PV', () => availableOf(world), 40_000);
      expect(volume).toMatchObject({
        metadata: { annotations: { 'loam.dev/adopted': 'discovered' } },
        spec: {
          storageClassName: className,
          persistentVolumeReclaimPolicy: 'Retain',
          csi: { volumeAttributes: { 'loam.dev/backend': 'disk', 'loam.dev/limit': 'enforced' } },
        },
      });
      const claim = await user.createClaim({ className, spec: { volumeName: volume.metadata.name } });
      const bound = await user.untilBound(claim);
      const pod = world.podWith(bound);
      const target = await pod.start();
      expect(await readFile(join(target, 'file'), 'utf8')).toBe('precious');
      await writeFile(join(target, 'more'), 'by a pod');
      await pod.stop();
      expect(await readFile(join(path, 'more'), 'utf8')).toBe('by a pod');

      // another disk in its place is never taken for it
      await disk.unmountWhenFree();
      other.mount(path);
      await user.untilEvent(bound, 'DiscoveredVolumeMissing', 'the PersistentVolume is kept');
      await expect(world.podWith(bound, 'pod-2').start()).rejects.toThrow(/mount it there again/);
      await other.unmountWhenFree();
      disk.mount(path);
      const again = world.podWith(bound, 'pod-3');
      expect(await readFile(join(await again.start(), 'more'), 'utf8')).toBe('by a pod');
      await again.stop();
      expect(await user.volumes()).toHaveLength(1);

      await user.delete('PersistentVolumeClaim', claim);
      await user.edit('PersistentVolume', bound, { spec: { persistentVolumeReclaimPolicy: 'Delete' } });
      await user.untilGone('PersistentVolume', bound);
      expect(await readdir(path)).toEqual(['lost+found']);
      const fresh = await eventually('the empty disk is offered anew', () => availableOf(world), 40_000);
      expect(fresh.metadata.name).not.toBe(bound.metadata.name);

      await user.delete('PersistentVolume', fresh);
      const [held] = world.nodes[0]?.stack.controller.held() ?? [];
      await disk.unmountWhenFree();
      expect(held).toMatchObject({ backend: 'disk' });
    });
  },
);

async function availableOf({ user }: LoopWorld): Promise<PersistentVolume | undefined> {
  const [first] = await user.volumes();
  return first?.status?.phase === 'Available' ? first : undefined;
}
