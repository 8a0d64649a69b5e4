import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { callFor, GiB, until, VolumeLab } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const discover = { className: 'found', sizeBytes: 5n * GiB };
const inFolder = (name: string): string => join(lab.poolPath(), 'discovery', name);

describe("a pool's discovery folder", () => {
  it('is made where the pool is configured for it, and nowhere else', async () => {
    const { service } = await lab.start({
      pools: [lab.poolConfig('one', { discover }), lab.poolConfig('two')],
    });
    const found = await service.discoveries();
    expect(found).toMatchObject([{ poolName: 'one', ...discover, entries: [] }]);
    expect(await lab.namesIn('discovery' as never)).toEqual([]);
  });

  it('shows folders, and says of everything else why it is none', async () => {
    const { service } = await lab.start({ pools: [lab.poolConfig('one', { discover })] });
    await service.discoveries();
    await mkdir(inFolder('orders'));
    await mkdir(inFolder('.half-made'));
    await writeFile(inFolder('disk.img'), 'x');
    await symlink('/etc', inFolder('link'));
    const [found] = await service.discoveries();
    expect(found?.entries).toMatchObject([
      { path: inFolder('disk.img'), obstacle: expect.stringContaining('loam adopt') as string },
      { path: inFolder('link'), obstacle: expect.stringContaining('no folder') as string },
      { path: inFolder('orders') },
    ]);
    expect(found?.entries[2]).not.toHaveProperty('obstacle');
    await service.adoptPath(inFolder('orders'), { sizeBytes: 5n * GiB }, callFor());
    expect(service.held()).toMatchObject([{ adoptedFrom: 'discovery/orders', sizeBytes: 5n * GiB }]);
    const [after] = await service.discoveries();
    expect(after?.entries).toHaveLength(2);
  });

  it('tells of a folder when anything in it was last changed, however deep', async () => {
    const { service } = await lab.start({ pools: [lab.poolConfig('one', { discover })] });
    const changedAtMs = async (): Promise<number> => {
      const [found] = await service.discoveries();
      return found?.entries.find(({ path }) => path === inFolder('orders'))?.changedAtMs ?? 0;
    };
    await changedAtMs();
    await mkdir(join(inFolder('orders'), 'a', 'b'), { recursive: true });
    await writeFile(join(inFolder('orders'), 'a', 'b', 'file'), '');
    const before = await changedAtMs();
    await until(async () => {
      await writeFile(join(inFolder('orders'), 'a', 'b', 'file'), 'more');
      return (await changedAtMs()) > before;
    });
  });
});
