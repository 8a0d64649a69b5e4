import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { inParallel } from '../../bench/claims.ts';
import { type ClusterUser, volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { CrashingNode } from '../../support/crashing-node.ts';
import { leftoversBelow } from '../../support/host-leftovers.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { PodMount } from '../../support/pod-mount.ts';
import { assertPoolEmpty, poolLeftovers } from '../../support/pool-leftovers.ts';

const rounds = 5;
const burstSize = 50;
const settleMs = 60_000;

const backends = [
  { backend: 'directory', adapter: 'process', size: '1Mi', limit: { limit: 'advisory' } },
  { backend: 'loopback', adapter: 'socket', size: '16Mi', limit: {} },
] as const;

describe.skipIf(!isRoot)(`kill -9 of the node process, on the real control plane${mountsNeedRoot}`, () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await startControlPlane('real');
  });
  afterAll(() => plane?.[Symbol.asyncDispose]());

  describe.each(backends)('with $backend volumes', ({ backend, adapter, size, limit }) => {
    const make = async (
      user: ClusterUser,
      count: number,
      className: string,
    ): Promise<PersistentVolumeClaim[]> =>
      inParallel([...Array(count).keys()], 8, () => user.createClaim({ className, node: 'node-a', size }));
    const makeClass = (user: ClusterUser): Promise<string> =>
      user.createClass({ parameters: { backend, ...limit } });

    it(
      `in five bursts of ${burstSize} creates and ${burstSize} deletes: every claim ends Bound or gone, and nothing is left over`,
      { timeout: 240_000 },
      async () => {
        await using node = await CrashingNode.start(plane, `burst.${backend}.test`, adapter);
        const { user, poolPath, folder } = node;
        const className = await makeClass(user);
        let present = await make(user, burstSize, className);
        await untilAllBound(user, present);
        const gone: PersistentVolumeClaim[] = [];
        for (let round = 1; round <= rounds; round += 1) {
          const startMs = performance.now();
          const burst = Promise.all([make(user, burstSize, className), deleteAll(user, present)]);
          await sleep(50 + Math.random() * 700);
          await node.kill();
          const killedMs = performance.now() - startMs;
          const found = await stateNow(user, poolPath);
          await node.startAgain();
          gone.push(...present);
          [present] = await burst;
          await untilAllBound(user, present);
          console.log(
            `${backend}, round ${round}: killed after ${killedMs.toFixed(0)} ms with ${found}; ` +
              `all Bound ${(performance.now() - startMs - killedMs).toFixed(0)} ms later`,
          );
        }
        await untilOnly(user, poolPath, present);
        const names = (await user.volumes()).map(({ metadata }) => metadata.name);
        expect(names.toSorted()).toEqual(present.map(volumeNameOf).toSorted());
        for (const claim of gone) expect(await user.find('PersistentVolumeClaim', claim)).toBeUndefined();
        console.log(`${backend}: ${gone.length} claims gone, ${present.length} Bound, nothing else on disk`);

        await deleteAll(user, present);
        await untilOnly(user, poolPath, []);
        await assertPoolEmpty(poolPath);
        expect(leftoversBelow(folder)).toEqual([]);
      },
    );

    it(
      `while ten pods get and lose their volumes: what they wrote is there, and no mount and no loop device is left`,
      { timeout: 120_000 },
      async () => {
        await using node = await CrashingNode.start(plane, `pods.${backend}.test`, adapter);
        const { user, poolPath, folder, kubelet } = node;
        const claims = await make(user, 10, await makeClass(user));
        const pods = await Promise.all(
          claims.map(async (claim) => {
            const volume = await user.untilBound(claim, settleMs);
            return new PodMount(kubelet, volume, join(folder, 'kubelet'), `pod-of-${claim.metadata.name}`);
          }),
        );
        for (let round = 1; round <= 2; round += 1) {
          const starting = inParallel(pods, 4, (pod) => asKubelet(() => pod.start()));
          await crashSoon(node);
          await starting;
          for (const { paths } of pods) {
            const note = join(paths.targetPath, 'note');
            if (round > 1) expect(await readFile(note, 'utf8')).toBe(`written in round ${round - 1}`);
            await writeFile(note, `written in round ${round}`);
          }
          // mounts outlive the process, and the pods do not notice
          await node.kill();
          await node.startAgain();
          for (const { paths } of pods)
            expect(await readFile(join(paths.targetPath, 'note'), 'utf8')).toBe(`written in round ${round}`);
          const stopping = inParallel(pods, 4, (pod) => asKubelet(() => pod.stop()));
          await crashSoon(node);
          await stopping;
          expect(leftoversBelow(folder)).toEqual([]);
        }
        await deleteAll(user, claims);
        await untilOnly(user, poolPath, []);
        await assertPoolEmpty(poolPath);
      },
    );
  });
});

async function crashSoon(node: CrashingNode): Promise<void> {
  await sleep(Math.random() * 150);
  await node.kill();
  await node.startAgain();
}

/** Again and again until it works, as kubelet does. */
async function asKubelet(call: () => Promise<unknown>): Promise<void> {
  await eventually(
    'the driver to do what kubelet asks',
    async () => {
      try {
        await call();
        return true;
      } catch (error) {
        throw new NotYet(String(error));
      }
    },
    settleMs,
  );
}

async function deleteAll(user: ClusterUser, claims: readonly PersistentVolumeClaim[]): Promise<void> {
  await inParallel(claims, 8, (claim) => user.delete('PersistentVolumeClaim', claim));
}

async function untilAllBound(user: ClusterUser, claims: readonly PersistentVolumeClaim[]): Promise<void> {
  const uids = new Set(claims.map(({ metadata }) => metadata.uid));
  await eventually(
    `${claims.length} claims to be Bound`,
    async () => {
      const { items } = await user.api.list('PersistentVolumeClaim', {}, AbortSignal.timeout(10_000));
      const bound = items.filter(
        ({ metadata, status }) => uids.has(metadata.uid) && status?.phase === 'Bound',
      );
      if (bound.length === claims.length) return true;
      throw new NotYet(`${bound.length} are`);
    },
    settleMs,
  );
}

/** The cluster and the pool hold these claims' volumes and nothing else. */
async function untilOnly(
  user: ClusterUser,
  poolPath: string,
  claims: readonly PersistentVolumeClaim[],
): Promise<void> {
  const wanted = [
    ...claims.map((claim) => `volumes/${volumeNameOf(claim)}`),
    ...claims.map(({ metadata }) => `by-claim/default/${metadata.name}`),
  ].toSorted();
  await eventually(
    `the volumes of ${claims.length} claims and nothing else`,
    async () => {
      const volumes = (await user.volumes()).length;
      if (volumes !== claims.length) throw new NotYet(`${volumes} PVs exist`);
      const there = poolLeftovers(poolPath).toSorted();
      const strange = there.filter((path) => !wanted.includes(path));
      const missing = wanted.filter((path) => !there.includes(path));
      if (strange.length + missing.length === 0) return true;
      throw new NotYet(`too much: ${strange.join(', ')}; missing: ${missing.join(', ')}`);
    },
    settleMs,
  );
}

async function stateNow(user: ClusterUser, poolPath: string): Promise<string> {
  const count = (folder: string): number => readdirSync(join(poolPath, folder)).length;
  const volumes = await user.volumes();
  const released = volumes.filter(({ status }) => status?.phase === 'Released').length;
  return `${volumes.length} PVs (${released} Released), ${count('volumes')} volumes and ${count('trash')} in the trash`;
}
