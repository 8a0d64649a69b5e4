import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { locate, mountAt, mountCovering, mountsOf, parseMountinfo } from '../../../src/host/mountinfo.ts';

const text = `21 28 0:20 / /proc rw,relatime shared:12 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 28 7:3 / /srv/pool rw,relatime shared:5 master:2 propagate_from:1 - xfs /dev/loop3 rw,attr2
41 28 254:0 /data/a\\040b\\011\\134c /mnt/with\\040blank\\012line rw,nodev - ext4 /dev/vda rw
50 28 254:0 /one /mnt/stack rw - ext4 /dev/vda rw
51 50 254:0 /two /mnt/stack ro,nodev - ext4 /dev/vda rw
60 28 0:30 / /hidden/below rw - tmpfs tmpfs rw
61 28 0:31 / /hidden rw - tmpfs cover rw
70 40 254:0 /deep /srv/pool/volumes/v1/data/inside rw - ext4 /dev/vda rw
`;
const mounts = parseMountinfo(text);

describe('parseMountinfo', () => {
  it('reads the fields, whatever optional ones are between', () => {
    expect(mounts).toHaveLength(9);
    expect(mounts[2]).toEqual({
      id: 40,
      parentId: 28,
      device: '7:3',
      root: '/',
      mountPoint: '/srv/pool',
      options: ['rw', 'relatime'],
      fsType: 'xfs',
      source: '/dev/loop3',
      superOptions: ['rw', 'attr2'],
    });
  });

  it('gives back blanks, tabs, newlines and backslashes in paths', () => {
    expect(mounts[3]).toMatchObject({ root: '/data/a b\t\\c', mountPoint: '/mnt/with blank\nline' });
  });

  it('passes over what is no mount, and never throws', () => {
    expect(parseMountinfo('\nnonsense\n1 2 3\n')).toEqual([]);
    fc.assert(fc.property(fc.string(), (line) => Array.isArray(parseMountinfo(line))));
  });
});

describe('mountAt', () => {
  it('finds the topmost of mounts that are stacked', () => {
    expect(mountAt(mounts, '/mnt/stack')?.id).toBe(51);
  });

  it('does not see a mount that another one hides', () => {
    expect(mountAt(mounts, '/hidden/below')).toBeUndefined();
    expect(mountCovering(mounts, '/hidden/below')?.id).toBe(61);
  });

  it('sees no mount below or beside a mount point', () => {
    expect(mountAt(mounts, '/srv/pool/volumes')).toBeUndefined();
    expect(mountAt(mounts, '/srv/poo')).toBeUndefined();
    expect(mountCovering(mounts, '/srv/pool2')?.id).toBe(28);
  });

  it('ends where mounts name each other as parents', () => {
    const circle = parseMountinfo('1 2 0:1 / / rw - t t rw\n2 1 0:1 / / rw - t t rw\n');
    expect(mountAt(circle, '/x')).toBeUndefined();
  });
});

describe('locate', () => {
  it('says where a path lies on its file system, so that a bind mount of it is recognised', () => {
    expect(locate(mounts, '/srv/pool/volumes/v1')).toEqual({ device: '7:3', root: '/volumes/v1' });
    expect(locate(mounts, '/mnt/stack/x')).toEqual({ device: '254:0', root: '/two/x' });
    expect(locate(mounts, '/mnt/stack')).toEqual({ device: '254:0', root: '/two' });
    expect(locate(mounts, '/')).toEqual({ device: '254:0', root: '/' });
  });

  it('finds the mounts of a place and of what is below it, not of a neighbour', () => {
    const place = { device: '254:0', root: '/tw' };
    expect(mountsOf(mounts, place)).toEqual([]);
    expect(mountsOf(mounts, { ...place, root: '/two' }).map(({ id }) => id)).toEqual([51]);
    expect(mountsOf(mounts, { ...place, root: '/' })).toHaveLength(5);
  });
});
