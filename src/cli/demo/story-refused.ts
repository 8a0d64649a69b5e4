import { claim, storageClass } from './manifests.ts';
import type { Step } from './step.ts';
import { eventAbout, expectTrue, find, gone, namespace, type World } from './world.ts';

/** Claims that Loam refuses: the reason stands in an Event on the claim, and nothing is left behind. */
export function refusedSteps(): readonly Step[] {
  const nothingIsMade = async (world: World, name: string): Promise<void> => {
    const found = await find(world, 'PersistentVolumeClaim', name);
    expectTrue(found?.status?.phase === 'Pending', `the claim is ${found?.status?.phase ?? 'gone'}`);
    const volumes = await world.files.names(`${world.poolPath}/volumes`);
    expectTrue(volumes.length === 0, `the refused claim left ${volumes.join(', ')} behind`);
    await world.api.remove('PersistentVolumeClaim', { namespace, name }, world.signal);
    await gone(world, 'PersistentVolumeClaim', name);
  };
  return [
    {
      title: 'A claim that is larger than the pool',
      async act({ api, signal, driverName }) {
        const parameters = { backend: 'directory', limit: 'advisory' };
        await api.create('StorageClass', storageClass('immediate', driverName, { parameters }), signal);
        await api.create('PersistentVolumeClaim', claim('huge', 'immediate', '1000Ti'), signal);
      },
      async check(world) {
        const message = await eventAbout(world, 'huge', 'ProvisioningFailed');
        await nothingIsMade(world, 'huge');
        return `ProvisioningFailed: ${message}`;
      },
    },
    {
      title: 'A class with a parameter that does not exist',
      async act({ api, signal, driverName }) {
        const parameters = { backend: 'directory', limits: 'advisory' };
        await api.create('StorageClass', storageClass('mistyped', driverName, { parameters }), signal);
        await api.create('PersistentVolumeClaim', claim('odd', 'mistyped', '1Mi'), signal);
      },
      async check(world) {
        const message = await eventAbout(world, 'odd', 'ProvisioningFailed');
        expectTrue(message.includes('limits'), `the event does not name the parameter: ${message}`);
        await nothingIsMade(world, 'odd');
        return `ProvisioningFailed: ${message}`;
      },
    },
    {
      title: 'A directory whose limit is to be enforced, where nothing enforces it',
      async act({ api, signal, driverName }) {
        await api.create(
          'StorageClass',
          storageClass('strict', driverName, { parameters: { backend: 'directory' } }),
          signal,
        );
        await api.create('PersistentVolumeClaim', claim('limited', 'strict', '1Mi'), signal);
      },
      async check(world) {
        const message = await eventAbout(world, 'limited', 'ProvisioningFailed');
        await nothingIsMade(world, 'limited');
        return `ProvisioningFailed: ${message}`;
      },
    },
  ];
}
