import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { DiskBackend } from '../../../src/backends/disk/backend.ts';
import type { Directory } from '../../../src/host/directory.ts';
import type { MountedEntry } from '../../../src/host/mounted-disk.ts';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { callFor, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

const uuid = '1b4e28ba-2fa1-11d2-883f-0016d3cca427';

// every folder passes for a disk that is mounted there, which takes root
vi.mock(import('../../../src/host/mounted-disk.ts'), async (original) => ({
  ...(await original()),
  openMounted: async (parent: Directory, name: string): Promise<MountedEntry> => {
    const mount = {
      id: 0,
      parentId: 0,
      device: '0:0',
      root: '/',
      mountPoint: parent.pathOf(name),
      options: ['rw'],
      fsType: 'ext4',
      source: '/dev/sdb',
      superOptions: ['rw'],
    };
    return { root: await parent.openChild(name), mount, uuid };
  },
}));

let lab: VolumeLab;
let at: (step: Step) => Promise<void>;
beforeEach(async () => {
  lab = await VolumeLab.make();
  at = async () => {};
});
afterEach(() => lab.clear());

const path = (): string => join(lab.poolPath(), 'discovery', 'sdb');

async function start(): Promise<LabProcess> {
  const process = await lab.start({
    pools: [lab.poolConfig('one', { discover: { className: 'found', sizeBytes: 1n } })],
    backends: [new DiskBackend()],
    reached: (step) => at(step),
  });
  await mkdir(path(), { recursive: true });
  return process;
}

it('makes one volume of a disk, also where the adoption fails after its last step on the disk', async () => {
  const { service } = await start();
  at = async (step) => {
    if (step === 'data') throw new Error('input/output error');
  };
  await expect(service.adoptPath(path(), {}, callFor())).rejects.toMatchObject({ reason: 'host-failure' });
  at = async () => {};
  const { volumeId } = await service.adoptPath(path(), {}, callFor());
  expect(await lab.namesIn('volumes')).toEqual([volumeId]);
  expect(service.held()).toMatchObject([{ volumeId }]);
});

it('does not bring back the volume of a disk that is being deleted', async () => {
  const { service } = await start();
  const { volumeId } = await service.adoptPath(path(), {}, callFor());
  const owner = { clusterUid: 'cluster-2' };
  let adopted: unknown;
  at = async (step) => {
    if (step === 'released')
      adopted = await service.adoptPath(path(), { owner }, callFor(50)).catch((error: unknown) => error);
  };
  await service.deleteVolume({ volumeId, volumeContext: {} }, callFor());
  expect(adopted).toMatchObject({ reason: 'busy' });
  expect(service.held()).toEqual([]);
});
