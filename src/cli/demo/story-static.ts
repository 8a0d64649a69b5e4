import type { PersistentVolume } from '../../kube/objects.ts';
import { claim, pod, staticVolume, storageClass } from './manifests.ts';
import type { Step } from './step.ts';
import {
  boundClaim,
  expectTrue,
  find,
  gone,
  namespace,
  runningPodPath,
  StepFailure,
  until,
} from './world.ts';

const text = 'written by an earlier claim\n';

/** An Immediate claim, its data kept by Retain, and a PV written by hand over the same data. */
export function staticSteps(): readonly Step[] {
  let volume: PersistentVolume | undefined;
  const known = (): PersistentVolume => {
    if (volume === undefined) throw new StepFailure('there is no PV to go on with');
    return volume;
  };
  const key = (name: string) => ({ namespace, name });
  return [
    {
      title: 'StorageClass kept: Immediate, reclaimPolicy Retain; claim first is bound without any pod',
      async act({ api, signal, driverName }) {
        const parameters = { backend: 'directory', limit: 'advisory' };
        const kept = {
          parameters,
          volumeBindingMode: 'Immediate' as const,
          reclaimPolicy: 'Retain' as const,
        };
        await api.create('StorageClass', storageClass('kept', driverName, kept), signal);
        await api.create('PersistentVolumeClaim', claim('first', 'kept', '32Mi'), signal);
      },
      async check(world) {
        const { spec } = await boundClaim(world, 'first');
        volume = await find(world, 'PersistentVolume', spec.volumeName ?? '');
        return `Bound to ${known().metadata.name}`;
      },
    },
    {
      title: 'A pod writes to it; pod and claim go, the data stays: Retain',
      async act(world) {
        await world.api.create('Pod', pod('earlier', 'first'), world.signal);
        await world.files.write(await runningPodPath(world, 'earlier', 'first'), 'note.txt', text);
        await world.api.remove('Pod', key('earlier'), world.signal);
        await gone(world, 'Pod', 'earlier');
        await world.api.remove('PersistentVolumeClaim', key('first'), world.signal);
      },
      check: async (world) =>
        until(world, 'the PV Released', async () => {
          const found = await find(world, 'PersistentVolume', known().metadata.name);
          return found?.status?.phase === 'Released'
            ? `PV ${known().metadata.name} is Released and untouched`
            : undefined;
        }),
    },
    {
      title:
        'An administrator deletes that PV and writes one of his own over the volume; claim again names it',
      async act(world) {
        const { api, signal } = world;
        await api.remove('PersistentVolume', { name: known().metadata.name }, signal);
        await gone(world, 'PersistentVolume', known().metadata.name);
        await api.create('PersistentVolume', staticVolume('by-hand', known()), signal);
        await api.create(
          'PersistentVolumeClaim',
          claim('again', '', '16Mi', { volumeName: 'by-hand' }),
          signal,
        );
      },
      async check(world) {
        const { status } = await boundClaim(world, 'again');
        return `Bound to by-hand, capacity ${status?.capacity?.['storage'] ?? 'unknown'} for a request of 16Mi`;
      },
    },
    {
      title: 'A new pod finds the old data',
      async act({ api, signal }) {
        await api.create('Pod', pod('later', 'again'), signal);
      },
      async check(world) {
        const path = await runningPodPath(world, 'later', 'again');
        const found = await world.files.read(`${path}/note.txt`);
        expectTrue(found === text, `note.txt says ${JSON.stringify(found)}`);
        return `note.txt: ${text.trim()}`;
      },
    },
    {
      title: 'The static PV is set to Delete; pod and claim go, and this time the data too',
      async act(world) {
        const { api, signal } = world;
        const body = { spec: { persistentVolumeReclaimPolicy: 'Delete' } };
        await api.patch('PersistentVolume', { name: 'by-hand' }, { type: 'merge', body }, signal);
        await api.remove('Pod', key('later'), signal);
        await gone(world, 'Pod', 'later');
        await api.remove('PersistentVolumeClaim', key('again'), signal);
      },
      async check(world) {
        await gone(world, 'PersistentVolume', 'by-hand');
        const path = `${world.poolPath}/volumes/${known().spec.csi?.volumeHandle ?? ''}`;
        expectTrue(!(await world.files.exists(path)), `${path} is still there`);
        return 'PV and directory are gone';
      },
    },
  ];
}
