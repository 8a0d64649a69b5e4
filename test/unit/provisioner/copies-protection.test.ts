import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { lingerMs } from '../../../src/provisioner/protect-source.ts';
import { aContent, aSnapshot, monday } from '../claims/sources.ts';
import { kinds, protections, selectedNode, sources, SourceWorld } from './source-world.ts';

describe('a claim with a source', () => {
  let world: SourceWorld;
  beforeEach(() => {
    world = new SourceWorld();
  });
  afterEach(() => world.end());

  it.each(kinds)('is made of it at once, and the source is protected meanwhile: %s', async (kind) => {
    await world.start();
    const seen: string[][] = [];
    world.driver.onCreate = () => void seen.push(world.finalizersOf(kind));
    world.wish(sources[kind]);
    await world.pass(0);
    expect(world.driver.creates.at(-1)?.contentSource).toEqual(
      kind === 'snapshot'
        ? { kind: 'snapshot', snapshotId: world.snapshot.snapshotId }
        : { kind: 'volume', volumeId: 'pvc-uid-old' },
    );
    expect(seen).toEqual([[protections[kind]]]);
    expect(world.volume()?.spec.csi?.volumeHandle).toBe('pvc-uid-1');
    expect(world.driver.unacknowledged()).toEqual([]);
    await world.pass(lingerMs);
    expect(world.finalizersOf(kind)).toEqual([]);
  });

  it.each(kinds)(
    'keeps the protection while any claim is made of it, and protects it once: %s',
    async (kind) => {
      await world.start();
      const gate = Promise.withResolvers<void>();
      world.driver.onCreate = ({ name }) => (name === 'pvc-uid-2' ? gate.promise : undefined);
      world.wish(sources[kind]);
      world.wish(sources[kind], { metadata: { name: 'second', uid: 'uid-2' } });
      await world.pass(5_000);
      expect(world.volume('pvc-uid-1')).toBeDefined();
      expect(world.finalizersOf(kind)).toEqual([protections[kind]]);
      gate.resolve();
      await world.pass(5_000);
      expect(world.volume('pvc-uid-2')).toBeDefined();
      expect(world.finalizersOf(kind)).toEqual([]);
      const kindName = kind === 'snapshot' ? 'VolumeSnapshot' : 'PersistentVolumeClaim';
      const name = kind === 'snapshot' ? 'monday' : 'old';
      const writes = world.api.calls.filter(
        (call) => call.verb === 'patch' && call.kind === kindName && call.name === name,
      );
      // on, for both (the second may find itself overtaken), and off
      expect(writes.length).toBeLessThanOrEqual(4);
    },
  );

  it.each(kinds)('has the protection taken off, also where that fails for a while: %s', async (kind) => {
    await world.start();
    world.wish(sources[kind]);
    await world.pass(0);
    expect(world.volume()).toBeDefined();
    const kindName = kind === 'snapshot' ? 'VolumeSnapshot' : 'PersistentVolumeClaim';
    world.api.fail('patch', kindName, new ApiError(500, 'InternalError', 'not now'), { times: 3 });
    await world.pass(lingerMs);
    expect(world.finalizersOf(kind)).toEqual([protections[kind]]);
    // long before the next sweep
    await world.pass(10_000);
    expect(world.finalizersOf(kind)).toEqual([]);
  });

  it('leaves the finalizers of others alone', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.metadata.finalizers = ['example.dev/stay']),
    );
    await world.start();
    world.wish(monday);
    await world.pass(lingerMs);
    expect(world.volume()).toBeDefined();
    expect(world.finalizersOf('snapshot')).toEqual(['example.dev/stay']);
  });

  it('is made all the same where the source may not be protected', async () => {
    await world.start();
    world.api.fail('patch', 'VolumeSnapshot', new ApiError(403, 'Forbidden', 'no'), { times: 9 });
    world.wish(monday);
    await world.pass(0);
    expect(world.volume()).toBeDefined();
  });

  it('is not made where the protection could not be written, and tried again', async () => {
    await world.start();
    world.api.fail('patch', 'VolumeSnapshot', new ApiError(500, 'InternalError', 'no'));
    world.wish(monday);
    await world.pass(0);
    expect(world.driver.creates).toEqual([]);
    await world.pass(1_000);
    expect(world.volume()).toBeDefined();
  });

  it('keeps what others protect for claims that wait, and snapshots of other drivers', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.metadata.finalizers = [protections.snapshot]),
    );
    world.api.put(
      'VolumeSnapshot',
      aSnapshot({
        metadata: { name: 'foreign', uid: 'vs-2', finalizers: [protections.snapshot] },
        status: { boundVolumeSnapshotContentName: 'c-foreign' },
      }),
    );
    world.api.put(
      'VolumeSnapshotContent',
      aContent({ metadata: { name: 'c-foreign' }, spec: { driver: 'other.dev' } }),
    );
    world.wish(monday, { metadata: { annotations: { [selectedNode]: 'node-b' } } });
    await world.start();
    await world.pass(5 * 60_000);
    expect(world.finalizersOf('snapshot')).toEqual([protections.snapshot]);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(5 * 60_000);
    expect(world.finalizersOf('snapshot')).toEqual([]);
    expect(world.api.peek('VolumeSnapshot', 'shop/foreign')?.metadata.finalizers).toEqual([
      protections.snapshot,
    ]);
  });

  describe('whose process died', () => {
    it.each(kinds)(
      'with the source protected: the next one’s sweep ends that where nobody wants it: %s',
      async (kind) => {
        const dying = await world.start({}, { isMortal: true });
        world.driver.onCreate = () => new Promise(() => {});
        world.wish(sources[kind]);
        await world.pass(0);
        expect(world.finalizersOf(kind)).toEqual([protections[kind]]);
        void dying.stop();
        world.driver.onCreate = undefined;
        world.api.erase('PersistentVolumeClaim', 'shop/data');
        await world.start();
        await world.pass(1_000);
        expect(world.finalizersOf(kind)).toEqual([]);
      },
    );

    it.each(kinds)(
      'while it was copied: it is copied by the next, and the protection ends with it: %s',
      async (kind) => {
        const dying = await world.start({}, { isMortal: true });
        world.driver.onCreate = () => new Promise(() => {});
        world.wish(sources[kind]);
        await world.pass(0);
        void dying.stop();
        const gate = Promise.withResolvers<void>();
        world.driver.onCreate = () => gate.promise;
        await world.start();
        await world.pass(5_000);
        expect(world.finalizersOf(kind)).toEqual([protections[kind]]);
        gate.resolve();
        await world.pass(lingerMs);
        expect(world.volume()).toBeDefined();
        expect(world.finalizersOf(kind)).toEqual([]);
      },
    );

    it('after the PV: the next one takes the finalizer off in a sweep', async () => {
      const dying = await world.start({}, { isMortal: true });
      world.wish(monday);
      await world.pass(0);
      expect(world.volume()).toBeDefined();
      void dying.stop();
      expect(world.finalizersOf('snapshot')).toEqual([protections.snapshot]);
      world.bind();
      await world.start();
      await world.pass(0);
      expect(world.finalizersOf('snapshot')).toEqual([]);
    });
  });
});
