import { join } from 'node:path';
import { claim, pod, storageClass } from './manifests.ts';
import type { Step } from './step.ts';
import {
  boundClaim,
  eventAbout,
  expectTrue,
  find,
  gone,
  namespace,
  runningPodPath,
  StepFailure,
  until,
  type DemoFiles,
  type World,
} from './world.ts';

const selectedNode = 'volume.kubernetes.io/selected-node';
const secret = 'the quick brown fox keeps its secret in loam\n'.repeat(200);

/** StorageClass, claim, pod, PV, mount, data, and all of it undone again. */
export function dynamicSteps(): readonly Step[] {
  let volumeName = '';
  let volumeId = '';
  let writerPath = '';
  let held: Awaited<ReturnType<DemoFiles['hold']>> | undefined;
  const volumePath = (world: World): string => join(world.poolPath, 'volumes', volumeId);
  const key = (name: string) => ({ namespace, name });
  return [
    {
      title: 'StorageClass scrubbed: directories, advisory limit, scrub on delete, WaitForFirstConsumer',
      async act({ api, signal, driverName }) {
        const parameters = { backend: 'directory', limit: 'advisory', onDelete: 'scrub' };
        await api.create(
          'StorageClass',
          storageClass('scrubbed', driverName, { parameters, volumeBindingMode: 'WaitForFirstConsumer' }),
          signal,
        );
      },
      async check(world) {
        const found = await find(world, 'StorageClass', 'scrubbed');
        expectTrue(found?.volumeBindingMode === 'WaitForFirstConsumer', 'the class is not there');
        return `provisioner ${world.driverName}, reclaimPolicy Delete`;
      },
    },
    {
      title: 'PersistentVolumeClaim notes, 64Mi: waits for a pod',
      async act({ api, signal }) {
        await api.create('PersistentVolumeClaim', claim('notes', 'scrubbed', '64Mi'), signal);
      },
      async check(world) {
        const message = await eventAbout(world, 'notes', 'WaitForFirstConsumer');
        const { items } = await world.api.list('PersistentVolume', {}, world.signal);
        expectTrue(items.length === 0, 'a PV was made before a pod wanted it');
        return `Pending: ${message}`;
      },
    },
    {
      title: 'Pod writer names the claim: the scheduler selects a node',
      async act({ api, signal }) {
        await api.create('Pod', pod('writer', 'notes'), signal);
      },
      check: async (world) =>
        until(world, 'a selected node', async () => {
          const found = await find(world, 'PersistentVolumeClaim', 'notes');
          const node = found?.metadata.annotations?.[selectedNode];
          return node === world.nodeName ? `${selectedNode}: ${node}` : undefined;
        }),
    },
    {
      title: "CreateVolume over the CSI socket: a directory in the node's pool, and its PV",
      act: async () => {},
      async check(world) {
        const volume = await until(
          world,
          'a PV',
          async () => (await world.api.list('PersistentVolume', {}, world.signal)).items[0],
        );
        volumeName = volume.metadata.name;
        volumeId = volume.spec.csi?.volumeHandle ?? '';
        const isThere = await world.files.exists(join(volumePath(world), 'data'));
        expectTrue(isThere, `the PV names ${volumeId}, and ${volumePath(world)}/data is not there`);
        return `PV ${volumeName} -> ${join(volumePath(world), 'data')}`;
      },
    },
    {
      title: 'The claim and the PV are Bound to each other',
      act: async () => {},
      async check(world) {
        const bound = await boundClaim(world, 'notes');
        expectTrue(
          bound.spec.volumeName === volumeName,
          `the claim is bound to ${bound.spec.volumeName ?? 'nothing'}`,
        );
        const volume = await find(world, 'PersistentVolume', volumeName);
        expectTrue(volume?.status?.phase === 'Bound', `the PV is ${volume?.status?.phase ?? 'gone'}`);
        return `capacity ${bound.status?.capacity?.['storage'] ?? 'unknown'}`;
      },
    },
    {
      title: "NodeStage and NodePublish: the volume appears at the pod's path",
      act: async () => {},
      async check(world) {
        writerPath = await runningPodPath(world, 'writer', 'notes');
        const mounts = await world.files.mountsBelow(writerPath);
        expectTrue(mounts.length === 1, `${mounts.length} mounts at ${writerPath}`);
        return writerPath;
      },
    },
    {
      title: 'The pod writes a file; the same bytes lie in the pool',
      async act({ files }) {
        await files.write(writerPath, 'secret.txt', secret);
      },
      async check(world) {
        const poolFile = join(volumePath(world), 'data', 'secret.txt');
        expectTrue((await world.files.read(poolFile)) === secret, `${poolFile} holds something else`);
        // kept open until the end of the story: a file without a name still has its blocks
        held = await world.files.hold(poolFile);
        return `${secret.length} bytes in ${poolFile}`;
      },
    },
    {
      title: 'Pod reader mounts the claim read-only: it reads, and cannot write',
      async act({ api, signal }) {
        await api.create('Pod', pod('reader', 'notes', true), signal);
      },
      async check(world) {
        const path = await runningPodPath(world, 'reader', 'notes');
        expectTrue(
          (await world.files.read(join(path, 'secret.txt'))) === secret,
          'the reader sees something else',
        );
        const refusal = await world.files.write(path, 'more.txt', 'x').then(
          () => undefined,
          (error: unknown) => (error as { code?: string }).code ?? 'failed',
        );
        if (refusal !== 'EROFS')
          throw new StepFailure(`writing to the read-only mount: ${refusal ?? 'it was let through'}`);
        return 'read the same bytes; writing answers EROFS';
      },
    },
    {
      title: 'Both pods go: NodeUnpublish and NodeUnstage',
      async act(world) {
        const { api, signal } = world;
        for (const name of ['writer', 'reader']) {
          await api.remove('Pod', key(name), signal);
          await gone(world, 'Pod', name);
        }
      },
      async check(world) {
        const mounts = await world.files.mountsBelow(world.kubeletPath);
        expectTrue(mounts.length === 0, `still mounted: ${mounts.join(', ')}`);
        return 'nothing is mounted any more; the data is still in the pool';
      },
    },
    {
      title: 'The claim goes: Released, overwritten, removed, and then the PV',
      async act({ api, signal }) {
        await api.remove('PersistentVolumeClaim', key('notes'), signal);
      },
      async check(world) {
        await gone(world, 'PersistentVolumeClaim', 'notes');
        await gone(world, 'PersistentVolume', volumeName);
        expectTrue(!(await world.files.exists(volumePath(world))), `${volumePath(world)} is still there`);
        const trash = await world.files.names(join(world.poolPath, 'trash'));
        expectTrue(trash.length === 0, `the trash still holds ${trash.join(', ')}`);
        const bytes = (await held?.bytes()) ?? Buffer.alloc(0);
        await held?.close();
        expectTrue(
          bytes.every((byte) => byte === 0),
          'the blocks of the deleted file still hold its text',
        );
        return `PV gone; the deleted file's blocks, still held open, read as ${bytes.length} zeros`;
      },
    },
  ];
}
