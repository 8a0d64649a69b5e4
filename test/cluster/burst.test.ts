import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { removeAll } from '../support/cluster-leftovers.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { claimOf, podOf } from '../support/pods.ts';
import { loamPid, RealCluster, whyNoCluster } from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const count = 100;
const node = 'node-b';
const longMs = 570_000;

/** Resident and anonymous memory of Loam's process on that node, in MiB. */
function memory(): string {
  const status = readFileSync(`/proc/${loamPid(node)}/status`, 'utf8');
  const of = (key: string) =>
    Math.round(Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024);
  return `${of('VmRSS')} resident, ${of('RssAnon')} anonymous`;
}

describe.skipIf(why !== undefined)(
  `${count} pods of one node with a claim each${why === undefined ? '' : ` (${why})`}`,
  () => {
    afterAll(() => removeAll(cluster));

    it(
      'all run when they are made at once, and leave nothing when they are deleted at once',
      { timeout: 2 * longMs },
      async () => {
        console.log(`memory of Loam before, MiB: ${memory()}`);
        const numbers = Array.from({ length: count }, (_, index) => index);
        const beganMs = performance.now();
        const seconds = () => Math.round((performance.now() - beganMs) / 1000);
        await cluster.apply(
          ...numbers.flatMap((index) => [
            claimOf(`claim-${index}`, {
              className: index % 2 === 0 ? 'loam' : 'loam-directory',
              size: '16Mi',
            }),
            podOf(`pod-${index}`, `claim-${index}`, {
              first: 'hostname > /data/name',
              probed: false,
              node,
            }),
          ]),
        );
        const phases = async () => (await cluster.kubectl(['get', 'pods', '--no-headers'])).split('\n');
        await eventually(
          `${count} pods running`,
          async () => {
            const running = (await phases()).filter((line) => line.includes(' Running ')).length;
            if (running === count) return true;
            throw new NotYet(`${running} run`);
          },
          longMs,
          500,
        );
        console.log(`${count} pods running after ${seconds()} s`);
        const starts = await cluster.kubectl([
          'get',
          'pods',
          '--output=jsonpath={.items[*].status.containerStatuses[0].restartCount}',
        ]);
        expect(starts).toBe(numbers.map(() => '0').join(' '));
        expect(await cluster.sh('pod-7', 'cat /data/name')).toBe('pod-7');
        console.log(`memory of Loam with them, MiB: ${memory()}`);
        const deletedMs = performance.now();
        await cluster.kubectl(['delete', 'pods', '--all', '--wait=false']);
        await cluster.kubectl(['delete', 'pvc', '--all', '--wait=false']);
        await eventually(
          'no PV',
          async () => {
            const left = (await cluster.kubectl(['get', 'pv', '--output=name']))
              .split('\n')
              .filter((line) => line !== '').length;
            if (left === 0) return true;
            throw new NotYet(`${left} are left`);
          },
          longMs,
          500,
        );
        console.log(`all gone after ${Math.round((performance.now() - deletedMs) / 1000)} s`);
        console.log(`memory of Loam after them, MiB: ${memory()}`);
      },
    );
  },
);
