import { describe, expect, it } from 'vitest';
import { parseProjectReport, parseProjects } from '../../../src/host/project-quota.ts';

describe('the report of project quotas', () => {
  it('is read by id, sizes in bytes, whatever is said of grace', () => {
    const text = [
      '#0                   0          0          0     00 [--------]          3          0          0     00 [--------]',
      '#279773184       20480          0      20480     00 [--------]          2          0       1000     00 [--------]',
      '#279773185       40961          0      20480     00 [--none--]          2          0       1000     00 [7 days]',
      '',
    ].join('\n');
    const [, one, two, ...rest] = parseProjectReport(text);
    expect(one).toEqual({
      id: 279_773_184,
      usedBytes: 20n << 20n,
      limitBytes: 20n << 20n,
      usedInodes: 2n,
      limitInodes: 1000n,
    });
    expect(two).toMatchObject({ id: 279_773_185, usedBytes: 40_961n * 1024n });
    expect(rest).toEqual([]);
  });

  it('is empty where nothing has a project', () => {
    expect(parseProjectReport('\n')).toEqual([]);
  });
});

describe('the projects of directories', () => {
  it('are those that are handed down, under paths with blanks too', () => {
    const text = [
      '17485824 -------------------P-- /pool/volumes/a b/data',
      '       7 ---------------------- /pool/volumes/not-handed-down/data',
      '    1 --------------e----P-- /pool/volumes/c/data',
      'lsattr: No such file or directory while trying to stat /pool/x',
    ].join('\n');
    expect([...parseProjects(text)]).toEqual([
      ['/pool/volumes/a b/data', 17_485_824],
      ['/pool/volumes/c/data', 1],
    ]);
  });
});
