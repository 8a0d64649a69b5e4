import { describe, expect, it } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { operatorPorts } from '../../../src/roles/operator-ports.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { partsWith } from './operator-parts.ts';

const { signal } = new AbortController();

/** The operator's verbs over a disk and a cluster of which only what forgetting needs is there. */
function ports(options: {
  readonly owner?: () => Promise<PersistentVolume | undefined>;
  readonly disk?: () => Promise<void>;
  readonly api?: 'none';
}) {
  const forgotten: string[] = [];
  const operator = operatorPorts(
    partsWith({
      disk: {
        forgetDisk: async (volumeId, requireUnowned) => {
          await options.disk?.();
          await requireUnowned('pool-1');
          forgotten.push(volumeId);
          return { volumeId, type: 'ext4', uuid: 'u-1', entry: 'sdb' };
        },
      },
      orphans: { owner: options.owner ?? (() => Promise.resolve(undefined)) },
      ...(options.api === undefined ? {} : { api: options.api }),
    }),
  );
  return { forget: (volumeId: string) => operator.forget(volumeId, signal), forgotten };
}

describe('forgetting a volume whose disk is away', () => {
  it('says which disk it was, and what becomes of it if it turns up', async () => {
    const { forget, forgotten } = ports({});
    const { message } = await forget('sdb-1');
    expect(message).toContain('nothing was erased');
    expect(message).toContain('the ext4 u-1 of mount point sdb');
    expect(message).toContain('offered to nobody');
    expect(forgotten).toEqual(['sdb-1']);
  });

  it('is refused while a PersistentVolume stands for it, with what to do first', async () => {
    const claimRef = { namespace: 'shop', name: 'data', uid: 'uid-1' };
    const bound = aPersistentVolume({
      metadata: { name: 'pv-1', uid: 'pv-uid-1' },
      spec: { persistentVolumeReclaimPolicy: 'Delete', claimRef },
    });
    const { forget, forgotten } = ports({ owner: () => Promise.resolve(bound) });
    await expect(forget('sdb-1')).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringMatching(
        /PersistentVolume pv-1 stands for it; .*Retain.*delete claim shop\/data.*kubectl delete pv pv-1/,
      ) as unknown,
    });
    expect(forgotten).toEqual([]);
  });

  it('asks for no policy of a PersistentVolume that keeps its data, and for no claim where there is none', async () => {
    const { claimRef: _, ...spec } = aPersistentVolume({}).spec;
    const free: PersistentVolume = {
      ...aPersistentVolume({ metadata: { name: 'pv-1', uid: 'pv-uid-1' } }),
      spec: { ...spec, persistentVolumeReclaimPolicy: 'Retain' },
    };
    const { forget } = ports({ owner: () => Promise.resolve(free) });
    await expect(forget('sdb-1')).rejects.toThrow(
      'PersistentVolume pv-1 stands for it; delete the PersistentVolume (kubectl delete pv pv-1), then repeat',
    );
  });

  it('is refused while nobody can say whether one does', async () => {
    const silent = ports({ owner: () => Promise.reject(new Error('no answer')) });
    await expect(silent.forget('sdb-1')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('no answer') as unknown,
    });
    const alone = ports({ api: 'none' });
    await expect(alone.forget('sdb-1')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect([...silent.forgotten, ...alone.forgotten]).toEqual([]);
  });

  it('tells what the disk has against it before it asks the API server', async () => {
    const mounted = new StorageError('in-use', 'the disk is mounted');
    let asked = 0;
    const { forget } = ports({
      disk: () => Promise.reject(mounted),
      owner: () => {
        asked += 1;
        return Promise.resolve(undefined);
      },
    });
    await expect(forget('sdb-1')).rejects.toBe(mounted);
    expect(asked).toBe(0);
  });
});
