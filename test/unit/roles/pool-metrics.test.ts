import { afterEach, beforeEach, expect, test } from 'vitest';
import { MetricsRegistry } from '../../../src/observe/metrics.ts';
import { tellAccounts } from '../../../src/roles/pool-metrics.ts';
import { callFor, createRequest, diskOf, GiB, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

function told({ pools }: Pick<LabProcess, 'pools'>): readonly string[] {
  const metrics = new MetricsRegistry();
  tellAccounts(pools, metrics);
  return metrics
    .expose()
    .split('\n')
    .filter((line) => line.startsWith('loam_pool_') && !line.endsWith(' 0'));
}

test('what the room of a pool went to is told by what it is, and nothing of a pool that is away', async () => {
  const process = await lab.start({ statFileSystem: diskOf(100n * GiB) });
  const { service } = process;
  const parameters = { backend: 'loopback' };
  for (const name of ['a', 'b', 'c'])
    await service.createVolume(createRequest(name, { parameters }), callFor());
  expect(told(process)).toEqual([
    `loam_pool_promised_bytes{kind="volumes",pool="one"} ${3n * GiB}`,
    `loam_pool_unwritten_bytes{pool="one"} ${3n * GiB}`,
  ]);

  const pool = process.pools.open()[0];
  const record = pool?.records.get('a');
  if (pool === undefined || record === undefined) throw new Error('there is no volume');
  pool.records.put({ ...record, state: 'creating' });
  const takeBack = pool.records.reserve(record, GiB);
  expect(told(process)).toEqual([
    `loam_pool_promised_bytes{kind="volumes",pool="one"} ${2n * GiB}`,
    `loam_pool_promised_bytes{kind="making",pool="one"} ${GiB}`,
    `loam_pool_promised_bytes{kind="growth",pool="one"} ${GiB}`,
    `loam_pool_unwritten_bytes{pool="one"} ${4n * GiB}`,
  ]);
  takeBack();

  const unavailable = () => [{ name: 'one', path: lab.poolPath(), why: 'gone' }];
  expect(told({ pools: { open: () => [], unavailable } as unknown as LabProcess['pools'] })).toEqual([]);
});
