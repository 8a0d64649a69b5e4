import { claim, pod, storageClass } from './manifests.ts';
import type { Step } from './step.ts';
import { boundClaim, expectTrue, gone, namespace, runningPodPath } from './world.ts';

/** A loopback image: the size that was asked for is the size that there is. */
export function imageSteps(): readonly Step[] {
  let volumeName = '';
  let path = '';
  return [
    {
      title: 'StorageClass image: a thin ext4 image behind a loop device; claim disk, 64Mi, and its pod',
      needs: 'loop devices',
      async act({ api, signal, driverName }) {
        const parameters = { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'ext4' };
        await api.create(
          'StorageClass',
          storageClass('image', driverName, { parameters, volumeBindingMode: 'WaitForFirstConsumer' }),
          signal,
        );
        await api.create('PersistentVolumeClaim', claim('disk', 'image', '64Mi'), signal);
        await api.create('Pod', pod('filler', 'disk'), signal);
      },
      async check(world) {
        volumeName = (await boundClaim(world, 'disk')).spec.volumeName ?? '';
        path = await runningPodPath(world, 'filler', 'disk');
        return path;
      },
    },
    {
      title: 'The pod writes more than it asked for, and is stopped',
      needs: 'loop devices',
      act: async () => {},
      async check(world) {
        const refusal = await world.files.write(path, 'too-much', 'x'.repeat(80 * 1024 * 1024)).then(
          () => undefined,
          (error: unknown) => (error as { code?: string }).code ?? 'failed',
        );
        expectTrue(refusal === 'ENOSPC', `80 MiB into 64Mi: ${refusal ?? 'they were let through'}`);
        return '80 MiB into a claim of 64Mi: ENOSPC';
      },
    },
    {
      title: 'Pod and claim go: image, loop device and PV are gone',
      needs: 'loop devices',
      async act({ api, signal }) {
        await api.remove('Pod', { namespace, name: 'filler' }, signal);
        await api.remove('PersistentVolumeClaim', { namespace, name: 'disk' }, signal);
      },
      async check(world) {
        await gone(world, 'Pod', 'filler');
        await gone(world, 'PersistentVolume', volumeName);
        const volumes = await world.files.names(`${world.poolPath}/volumes`);
        expectTrue(volumes.length === 0, `left behind: ${volumes.join(', ')}`);
        return 'nothing is left in the pool';
      },
    },
  ];
}
