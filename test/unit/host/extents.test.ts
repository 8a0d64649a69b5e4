import { describe, expect, it } from 'vitest';
import { clipToSize, parseFiemap, parseFilefrag } from '../../../src/host/extents.ts';

const extent = (startBytes: bigint, lengthBytes: bigint, isShared = false) => ({
  startBytes,
  lengthBytes,
  isShared,
});

describe('the extents that filefrag lists', () => {
  const text = `Filesystem type is: ef53
File size of /proc/7/fd/20 is 10485760 (10485760 blocks of 1 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:  4997120.. 5001215: 13720371200..13720375295:   4096:    4997120: last
/proc/7/fd/20: 1 extent found
File size of /proc/7/fd/21 is 0 (0 blocks of 1 bytes)
/proc/7/fd/21: 0 extents found
File size of /proc/7/fd/22 is 1048576 (1048576 blocks of 1 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..  524287: 13706985472..13708034047: 524288:             unwritten
   1:   524288.. 1048575: 23706985472..23708034047: 524288: 13708034048: last,unwritten,eof
/proc/7/fd/22: 2 extents found
File size of /proc/7/fd/23 is 5 (5 blocks of 1 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..    4095:       3328..      7423:   4096:             shared
   1:     4096..    8191:       8192..     12287:   4096:             last,eof
/proc/7/fd/23: 2 extents found`;

  it('are read by file, in bytes', () => {
    const found = parseFilefrag(text);
    expect(found.get('/proc/7/fd/20')).toEqual([extent(4997120n, 4096n)]);
    expect(found.get('/proc/7/fd/21')).toEqual([]);
  });

  it('contain unwritten ones, since the old bytes may lie in them, and are merged where they touch', () => {
    expect(parseFilefrag(text).get('/proc/7/fd/22')).toEqual([extent(0n, 1048576n)]);
  });

  it('say which are shared and are not merged across that', () => {
    expect(parseFilefrag(text).get('/proc/7/fd/23')).toEqual([extent(0n, 4096n, true), extent(4096n, 4096n)]);
  });

  it('are refused where a row cannot be read', () => {
    expect(() => parseFilefrag(text.replace('4997120..', 'x..'))).toThrow(/extents cannot be read/);
  });
});

describe('the extents that xfs_io lists', () => {
  const text = `/proc/7/fd/20:
 EXT: FILE-OFFSET      BLOCK-RANGE        TOTAL FLAGS
   0: [0..9759]:       hole                9760
   1: [9760..9767]:    26797600..26797607     8   0x1
   2: [9768..20479]:   hole               10712
/proc/7/fd/21:
/proc/7/fd/22:
 EXT: FILE-OFFSET      BLOCK-RANGE      TOTAL FLAGS
   0: [0..6143]:       192..6335         6144 0x2001`;

  it('are read by file, in bytes, without the holes', () => {
    const found = parseFiemap(text);
    expect(found.get('/proc/7/fd/20')).toEqual([extent(9760n * 512n, 4096n)]);
    expect(found.get('/proc/7/fd/21')).toEqual([]);
    expect(found.get('/proc/7/fd/22')).toEqual([extent(0n, 6144n * 512n, true)]);
  });

  it('are refused where a row cannot be read', () => {
    expect(() => parseFiemap(text.replace('[9760..9767]', '[9760]'))).toThrow(/extents cannot be read/);
  });
});

describe('extents and the size of the file', () => {
  it('are cut at its end', () => {
    expect(clipToSize([extent(0n, 8192n), extent(8192n, 8192n), extent(65536n, 4096n)], 9000n)).toEqual([
      extent(0n, 8192n),
      extent(8192n, 808n),
    ]);
  });
});
