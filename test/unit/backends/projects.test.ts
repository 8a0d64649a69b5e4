import { expect, it } from 'vitest';
import { firstProject, freeProject, lastProject, limitOf } from '../../../src/backends/directory/projects.ts';

it('takes the first project id that the file system knows nothing of, and never an administrator’s', () => {
  expect(freeProject([{ id: 0 }, { id: 42 }])).toBe(firstProject);
  const known = [firstProject + 1, firstProject, firstProject + 3].map((id) => ({ id }));
  expect(freeProject(known)).toBe(firstProject + 2);
});

it('says so when every id is taken', () => {
  const known = Array.from({ length: lastProject - firstProject + 1 }, (_, index) => ({
    id: firstProject + index,
  }));
  expect(() => freeProject(known)).toThrow('every project id');
});

it('lets a volume have as many files as it has blocks, and a small one a thousand', () => {
  expect(limitOf(1n << 30n)).toEqual({ bytes: 1n << 30n, inodes: 262_144n });
  expect(limitOf(4096n)).toEqual({ bytes: 4096n, inodes: 1024n });
});
