import { readdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { metadataKeys } from '../../../src/model/class-parameters.ts';
import { dyingAt } from '../../support/dying.ts';
import { callFor, createRequest, VolumeLab } from '../../support/volume-lab.ts';

const owner = {
  clusterUid: 'cluster-2',
  claim: { namespace: 'shop', name: 'orders', uid: 'uid-9' },
  className: 'fast',
};

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make();
});
afterEach(() => lab.clear());

/** A volume that another cluster made for claim shop/data. */
async function withForeign(parameters: Readonly<Record<string, string>> = {}) {
  const process = await lab.start();
  await process.service.createVolume(
    createRequest('pvc-a', {
      parameters: {
        backend: 'directory',
        limit: 'advisory',
        [metadataKeys.claimNamespace]: 'shop',
        [metadataKeys.claimName]: 'data',
        [metadataKeys.claimUid]: 'uid-1',
        [metadataKeys.clusterUid]: 'cluster-1',
        [metadataKeys.className]: 'slow',
        ...parameters,
      },
    }),
    callFor(),
  );
  return process;
}

describe('adopting a volume', () => {
  it('writes down whose it is, durably, and moves the link of its claim', async () => {
    const { service } = await withForeign();
    const adopted = await service.adopt('pvc-a', owner, callFor());
    expect(adopted).toMatchObject({ volumeId: 'pvc-a', acknowledged: true, ...owner });
    expect(adopted.accessModes).not.toContain('MULTI_NODE_MULTI_WRITER');
    expect(adopted.volumeContext).toMatchObject({ 'loam.dev/pool-uuid': adopted.poolUuid });
    expect(JSON.parse(await lab.readRecord('pvc-a'))).toMatchObject({ acknowledged: true, ...owner });
    expect(await readdir(lab.poolPath('one/by-claim/shop'))).toEqual(['orders']);
    expect(service.unacknowledged()).toEqual([]);
  });

  it('leaves what is not said as it was', async () => {
    const { service } = await withForeign();
    const adopted = await service.adopt('pvc-a', { clusterUid: 'cluster-2' }, callFor());
    expect(adopted).toMatchObject({
      clusterUid: 'cluster-2',
      className: 'slow',
      claim: { namespace: 'shop', name: 'data', uid: 'uid-1' },
    });
    expect(await readdir(lab.poolPath('one/by-claim/shop'))).toEqual(['data']);
  });

  it('is the same when it is repeated, also by the next process', async () => {
    const first = await withForeign();
    const adopted = await first.service.adopt('pvc-a', owner, callFor());
    expect(await first.service.adopt('pvc-a', owner, callFor())).toEqual(adopted);
    await first.stop();
    const next = await lab.start();
    expect(next.service.held()).toMatchObject([{ volumeId: 'pvc-a', acknowledged: true, ...owner }]);
    expect(await next.service.adopt('pvc-a', owner, callFor())).toEqual(adopted);
  });

  it('serves pods of all modes where the class shares it on its node', async () => {
    const { service } = await withForeign({ sharing: 'node' });
    const { accessModes } = await service.adopt('pvc-a', owner, callFor());
    expect(accessModes).toContain('MULTI_NODE_MULTI_WRITER');
  });

  it('refuses what is not here, and whatever could not be an id', async () => {
    const { service } = await withForeign();
    for (const id of ['pvc-b', '../pvc-a', ''])
      await expect(service.adopt(id, owner, callFor())).rejects.toMatchObject({ reason: 'volume-not-found' });
  });

  it('brings an archived volume back first, with its data', async () => {
    const { service } = await withForeign({ onDelete: 'archive' });
    await service.acknowledge('pvc-a');
    await service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    expect(service.held()).toEqual([]);
    expect(await lab.namesIn('archive')).toEqual(['pvc-a']);
    const adopted = await service.adopt('pvc-a', owner, callFor());
    expect(adopted).toMatchObject({ ...owner, used: true });
    expect(await lab.namesIn('archive')).toEqual([]);
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
    const record: unknown = JSON.parse(await lab.readRecord('pvc-a'));
    expect(record).toMatchObject({ state: 'ready', ...owner });
    expect(record).not.toHaveProperty('archivedAtMs');
  });

  it.each(['commit', 'recorded'] as const)('ends the same after a process died at step %s', async (step) => {
    const first = await withForeign({ onDelete: 'archive' });
    await first.service.acknowledge('pvc-a');
    await first.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await first.stop();
    const { reached, died } = dyingAt(step);
    const doomed = await lab.start({ reached });
    void doomed.service.adopt('pvc-a', owner, callFor());
    await died;
    const next = await lab.start();
    await next.service.adopt('pvc-a', owner, callFor());
    expect(next.service.held()).toMatchObject([{ volumeId: 'pvc-a', ...owner }]);
    expect(await lab.namesIn('archive')).toEqual([]);
  });
});
