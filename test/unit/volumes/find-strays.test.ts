import { describe, expect, it } from 'vitest';
import { parseMountinfo } from '../../../src/host/mountinfo.ts';
import { findStrays, type SearchedPool, type Seen } from '../../../src/volumes/inventory/find-strays.ts';

const pool: SearchedPool = {
  name: 'fast',
  uuid: 'pool-1',
  volumesPath: '/mnt/fast/volumes',
  place: { device: '8:1', root: '/volumes' },
  knows: (id) => id === 'known',
};
const nothing: Seen = { devices: [], mounts: [], publications: [] };
const loop = (id: string, suffix = '') => ({
  path: `/dev/loop-${id}`,
  device: `7:${id.length}`,
  backingFile: `/mnt/fast/volumes/${id}/image${suffix}`,
});
const mount = (device: string, root: string, mountPoint: string) =>
  parseMountinfo(`30 1 ${device} ${root} ${mountPoint} rw - ext4 /dev/x rw`);

describe('strays', () => {
  it('are none among what has a record', () => {
    const seen: Seen = {
      devices: [loop('known')],
      mounts: [...mount('7:5', '/', '/pods/a'), ...mount('8:1', '/volumes/known/data', '/pods/b')],
      publications: [{ volumeId: 'known', poolUuid: 'pool-1', path: '/pods/a' }],
    };
    expect(findStrays([pool], seen)).toEqual([]);
  });

  it('are loop devices of images without a record, and mounts of them, also where the image is deleted', () => {
    const seen: Seen = {
      ...nothing,
      devices: [loop('lost', ' (deleted)'), { ...loop('x'), backingFile: '/elsewhere/volumes/x/image' }],
      mounts: [...mount('7:4', '/', '/pods/a'), ...mount('7:9', '/', '/pods/b')],
    };
    expect(findStrays([pool], seen).map(({ kind, path, volumeId }) => `${kind} ${path} ${volumeId}`)).toEqual(
      ['loop device /dev/loop-lost lost', 'mount /pods/a lost'],
    );
    expect(findStrays([pool], seen)[0]?.why).toContain('losetup --detach /dev/loop-lost');
  });

  it('are mounts of folders without a record, by where they lie on the disk', () => {
    const mounts = [
      ...mount('8:1', '/volumes/lost/data', '/pods/a'),
      ...mount('8:1', '/volumes', '/mnt/x'),
      ...mount('8:1', '/volumes-of-others/lost', '/mnt/y'),
      ...mount('8:2', '/volumes/lost', '/mnt/z'),
    ];
    expect(findStrays([pool], { ...nothing, mounts }).map(({ path }) => path)).toEqual(['/pods/a']);
    expect(findStrays([{ ...pool, place: undefined }], { ...nothing, mounts })).toEqual([]);
  });

  it('are notes of publications without a record, once each, and of this pool only', () => {
    const publications = ['/pods/a', '/pods/b'].map((path) => ({
      volumeId: 'lost',
      poolUuid: 'pool-1',
      path,
    }));
    const others = [{ volumeId: 'lost', poolUuid: 'pool-2', path: '/pods/c' }];
    const mounts = mount('8:1', '/volumes/lost/data', '/pods/a');
    const found = findStrays([pool], { ...nothing, mounts, publications: [...publications, ...others] });
    expect(found.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      'mount /pods/a',
      'publication /pods/b',
    ]);
  });
});
