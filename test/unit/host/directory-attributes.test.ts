import { describe, expect, it } from 'vitest';
import { parseXattrs, secondsOf } from '../../../src/host/directory-attributes.ts';

describe('extended attributes of directories', () => {
  it('are told apart by path, and SELinux labels left out', () => {
    const text = [
      '# file: /proc/1/fd/20',
      'security.selinux=0sc3lzdGVt',
      'user.note=0sdmFsdWU=',
      'system.posix_acl_access=0sAgAAAA==',
      '',
      '# file: /proc/1/fd/21',
      'user.other=0s',
      '',
    ].join('\n');
    expect([...parseXattrs(text)]).toEqual([
      ['/proc/1/fd/20', ['user.note=0sdmFsdWU=', 'system.posix_acl_access=0sAgAAAA==']],
      ['/proc/1/fd/21', ['user.other=0s']],
    ]);
  });

  it('are none where nothing was said', () => {
    expect(parseXattrs('').size).toBe(0);
  });
});

describe('times for Node', () => {
  it.each([0n, 1n, 1_795_370_884_395_480_123n, 978_491_045_123_456_000n])(
    'keep the microseconds of %s after they are cut off',
    (timeNs) => {
      expect(BigInt(Math.floor(secondsOf(timeNs) * 1e6))).toBe(timeNs / 1000n);
    },
  );
});
