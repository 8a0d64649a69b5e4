import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import type { VolumeSpec } from '../../src/model/volume.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { ScratchPool, whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { makeSubject, type Subject } from './backend-subject.ts';
import { describeBlock } from './block-volume.ts';
import { describeImage } from './image-volume.ts';
import { describeMount } from './mounted-volume.ts';
import { describeLife } from './volume-life.ts';

export interface ConformanceCase {
  readonly title: string;
  readonly pool: PoolKind;
  readonly makeBackend: (poolPath: string) => Backend;
  readonly spec: Omit<VolumeSpec, 'id'>;
}

/** What every backend has to do, whatever it stores volumes in. */
export function describeBackend(options: ConformanceCase): void {
  const why = whyNoScratchPool(options.pool);
  describe.skipIf(why !== '')(`${options.title}${why}`, () => {
    let pool: ScratchPool;
    let backend: Backend;
    let count = 0;

    beforeAll(() => {
      pool = ScratchPool.make(options.pool, 2048);
      backend = options.makeBackend(pool.path);
    });
    afterEach(async () => {
      await expect.poll(() => pool.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
      pool.empty();
    });
    afterAll(() => pool.remove());

    const subject = (change: Partial<VolumeSpec> = {}): Subject => {
      count += 1;
      return makeSubject(pool, backend, { ...options.spec, id: volumeIdOf(`pvc-${count}`), ...change });
    };

    describeLife(subject, () => backend, options.spec.accessType);
    if (options.spec.accessType === 'mount') describeMount(subject);
    else describeBlock(subject);
    if (options.spec.backend === 'loopback')
      describeImage(
        subject,
        () => backend,
        () => pool,
      );
  });
}
