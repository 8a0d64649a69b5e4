import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { dyingAt } from '../../support/dying.ts';
import {
  expectNothing,
  id,
  lab,
  podFolder,
  process,
  publish,
  restart,
  stagingPath,
  target,
  unpublish,
  useInlineLab,
} from '../../support/inline-lab.ts';
import { callFor, dead } from '../../support/volume-lab.ts';

useInlineLab();

describe('a process killed with an inline volume', () => {
  async function dieAt(step: Step, act: () => Promise<void>): Promise<void> {
    await process.stop();
    const { reached, died } = dyingAt(step);
    await restart({ reached });
    void act();
    await died;
    await restart();
  }

  const making: readonly Step[] = ['reserved', 'intent', 'data', 'commit', 'staged', 'published'];
  test.each(making)('at %s goes on with a repeat', async (step) => {
    await dieAt(step, publish);
    await publish();
    expect(lab.mounts.has(target())).toBe(true);
    await unpublish();
    await expectNothing();
  });

  test.each(making)('at %s has nothing left once it is unpublished instead', async (step) => {
    await dieAt(step, publish);
    await unpublish();
    await expectNothing();
  });

  test.each(making)('at %s has nothing left once its pod is gone', async (step) => {
    await dieAt(step, publish);
    lab.mounts.remove(target());
    await rm(podFolder(), { recursive: true });
    await process.node.sweepInline(callFor());
    await expectNothing();
  });

  test.each(['unpublished', 'unstaged', 'released', 'taken'] as const)(
    'at %s ends it with a repeat',
    async (step) => {
      await publish();
      await dieAt(step, unpublish);
      await unpublish();
      await expectNothing();
    },
  );
});

test('any sequence of publishes, ends, deaths, reboots and sweeps keeps a live pod’s data, and ends with nothing', async () => {
  const steps: readonly Step[] = [
    ...(['reserved', 'intent', 'data', 'commit', 'staged', 'published'] as const),
    ...(['unpublished', 'unstaged', 'released', 'taken'] as const),
  ];
  const action = fc.record({
    verb: fc.constantFrom('publish' as const, 'unpublish' as const, 'reboot' as const, 'sweep' as const),
    dieAt: fc.option(fc.constantFrom(...steps), { freq: 2, nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 10 }), async (actions) => {
      let deathStep: Step | undefined;
      let tell = (): void => {};
      const again = async (): Promise<void> => {
        await restart({
          reached: async (step) => {
            if (step !== deathStep) return;
            tell();
            await dead();
          },
        });
      };
      await again();
      const image = join(lab.poolPath(), 'volumes', id, 'image');
      let isWritten = false;
      for (const { verb, dieAt } of actions) {
        const { promise: died, resolve } = Promise.withResolvers<'died'>();
        tell = () => resolve('died');
        deathStep = dieAt;
        const acts = {
          publish,
          unpublish,
          sweep: () => process.node.sweepInline(callFor()),
          reboot: async () => {},
        };
        const outcome = await Promise.race([died, acts[verb]().then(() => 'done' as const)]);
        deathStep = undefined;
        if (verb === 'unpublish') isWritten = false;
        if (verb === 'reboot') for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
        if (outcome === 'died' || verb === 'reboot') await again();
        if (verb === 'publish' && outcome === 'done' && !isWritten) {
          await writeFile(image, 'the pod’s');
          isWritten = true;
        }
        if (isWritten) expect(await readFile(image, 'utf8')).toBe('the pod’s');
      }
      await unpublish();
      await expectNothing();
      await process.stop();
    }),
    { numRuns: 30 },
  );
}, 60_000);
