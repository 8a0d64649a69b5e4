import { join } from 'node:path';
import { undelete } from '../undelete/undelete.ts';
import { claim, pod, storageClass } from './manifests.ts';
import type { Step } from './step.ts';
import { boundClaim, expectTrue, find, gone, namespace, runningPodPath, until, type World } from './world.ts';

const text = 'dear diary\n';
const endKey = 'loam.dev/retained-until';

/** A claim that was deleted by mistake, and a volume that is used again. */
export function secondThoughtsSteps(): readonly Step[] {
  let volumeName = '';
  const key = (name: string) => ({ namespace, name });
  const phase = async (world: World, wanted: string): Promise<string> => {
    const found = await until(world, `PV ${volumeName} ${wanted}`, async () => {
      const volume = await find(world, 'PersistentVolume', volumeName);
      return volume?.status?.phase === wanted ? volume : undefined;
    });
    return found.metadata.annotations?.[endKey] ?? '';
  };
  const usePod = async (world: World, name: string, claimName: string): Promise<string> => {
    await world.api.create('Pod', pod(name, claimName), world.signal);
    return runningPodPath(world, name, claimName);
  };
  const endPod = async (world: World, name: string): Promise<void> => {
    await world.api.remove('Pod', key(name), world.signal);
    await gone(world, 'Pod', name);
  };
  const directories = { backend: 'directory', limit: 'advisory' };
  return [
    {
      title: 'StorageClass careful, retainFor: 24h; a claim of it, and a pod that writes',
      async act(world) {
        const parameters = { ...directories, retainFor: '24h' };
        const careful = storageClass('careful', world.driverName, { parameters });
        await world.api.create('StorageClass', careful, world.signal);
        await world.api.create('PersistentVolumeClaim', claim('diary', 'careful', '16Mi'), world.signal);
        await world.files.write(await usePod(world, 'author', 'diary'), 'page', text);
        await endPod(world, 'author');
      },
      async check(world) {
        volumeName = (await boundClaim(world, 'diary')).spec.volumeName ?? '';
        return `PV ${volumeName}`;
      },
    },
    {
      title: 'The claim is deleted, by mistake: the PV stays Released, the data untouched',
      async act({ api, signal }) {
        await api.remove('PersistentVolumeClaim', key('diary'), signal);
      },
      async check(world) {
        await phase(world, 'Released');
        return until(world, 'the end of its time', async () => {
          const volume = await find(world, 'PersistentVolume', volumeName);
          const end = volume?.metadata.annotations?.[endKey];
          return end === undefined ? undefined : `${endKey}: ${end}`;
        });
      },
    },
    {
      title: 'loam undelete: the volume is reserved for the claim of that name, which is made again',
      async act({ api, signal, driverName }) {
        const request = { volumeName, driverName, apply: true, isRehearsal: false };
        await undelete(api, request, () => {}, signal);
      },
      async check(world) {
        const bound = await boundClaim(world, 'diary');
        expectTrue(bound.spec.volumeName === volumeName, `it is bound to ${bound.spec.volumeName ?? ''}`);
        const page = join(await usePod(world, 'reader-again', 'diary'), 'page');
        expectTrue((await world.files.read(page)) === text, `${page} holds something else`);
        await endPod(world, 'reader-again');
        return 'Bound, and the same bytes';
      },
    },
    {
      title: 'Deleted on purpose, its time set to now: then it goes',
      async act(world) {
        const { api, signal } = world;
        await api.remove('PersistentVolumeClaim', key('diary'), signal);
        await until(world, 'the end of its time', async () => {
          const volume = await find(world, 'PersistentVolume', volumeName);
          return volume?.metadata.annotations?.[endKey];
        });
        const body = { metadata: { annotations: { [endKey]: new Date().toISOString() } } };
        await api.patch('PersistentVolume', { name: volumeName }, { type: 'merge', body }, signal);
      },
      async check(world) {
        await gone(world, 'PersistentVolume', volumeName);
        return 'PV and data gone';
      },
    },
    {
      title: 'StorageClass again, policy Retain, onRelease: recycle; a claim with data, which is deleted',
      async act(world) {
        const parameters = { ...directories, onRelease: 'recycle' };
        const recycling = storageClass('again', world.driverName, { parameters, reclaimPolicy: 'Retain' });
        await world.api.create('StorageClass', recycling, world.signal);
        await world.api.create('PersistentVolumeClaim', claim('first', 'again', '16Mi'), world.signal);
        await world.files.write(await usePod(world, 'tenant', 'first'), 'mine', text);
        await endPod(world, 'tenant');
        volumeName = (await boundClaim(world, 'first')).spec.volumeName ?? '';
        await world.api.remove('PersistentVolumeClaim', key('first'), world.signal);
      },
      async check(world) {
        await phase(world, 'Available');
        return `PV ${volumeName} is Available`;
      },
    },
    {
      title: 'The next claim gets that PV, empty',
      async act({ api, signal }) {
        await api.create('PersistentVolumeClaim', claim('second', 'again', '16Mi'), signal);
      },
      async check(world) {
        const bound = await boundClaim(world, 'second');
        expectTrue(bound.spec.volumeName === volumeName, `it is bound to ${bound.spec.volumeName ?? ''}`);
        const names = await world.files.names(await usePod(world, 'next-tenant', 'second'));
        expectTrue(names.length === 0, `it holds ${names.join(', ')}`);
        await endPod(world, 'next-tenant');
        return 'the same PV, and nothing in it';
      },
    },
    {
      title: "The PV's policy becomes Delete: it goes with its claim",
      async act({ api, signal }) {
        const body = { spec: { persistentVolumeReclaimPolicy: 'Delete' } };
        await api.patch('PersistentVolume', { name: volumeName }, { type: 'merge', body }, signal);
        await api.remove('PersistentVolumeClaim', key('second'), signal);
      },
      async check(world) {
        await gone(world, 'PersistentVolume', volumeName);
        return 'PV and data gone';
      },
    },
  ];
}
