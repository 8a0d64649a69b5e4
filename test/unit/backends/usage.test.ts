import { expect, it, vi } from 'vitest';
import { DirectoryBackend } from '../../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../../src/backends/loopback/backend.ts';
import type { VolumeSpec } from '../../../src/model/volume.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';

const walks = vi.hoisted(() => ({ count: 0 }));

function counted(name: string, original: object): object {
  const call = (original as Record<string, (...args: unknown[]) => unknown>)[name];
  return {
    [name]: (...args: unknown[]) => {
      walks.count += 1;
      return call?.(...args);
    },
  };
}

vi.mock('node:fs/promises', async (load) => {
  const original = await load<object>();
  return { ...original, ...counted('readdir', original), ...counted('opendir', original) };
});
vi.mock('node:fs', async (load) => {
  const original = await load<object>();
  return { ...original, ...counted('readdirSync', original), ...counted('opendirSync', original) };
});

it.each([new DirectoryBackend(), new LoopbackBackend()])(
  'the usage of a $name volume is asked of the file system, and no directory is read',
  async (backend) => {
    const spec: VolumeSpec = {
      id: volumeIdOf('pvc-1'),
      backend: backend.name,
      accessType: 'mount',
      sizeBytes: 1n << 20n,
      provisioning: 'thin',
      limit: 'advisory',
    };
    const entries = await backend.usage({ path: '/' }, spec, '/');
    expect(entries[0]?.total).toBeGreaterThan(0n);
    expect(walks.count).toBe(0);
    const { readdir } = await import('node:fs/promises');
    await readdir('/');
    expect(walks.count).toBe(1);
    walks.count = 0;
  },
);
