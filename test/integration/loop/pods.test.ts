import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KubeletStandIn } from '../../../src/embedded/kubelet-stand-in.ts';
import type { Pod } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { EmbeddedPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { adapterNames } from '../../support/local-node.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

/** Nobody but the pod's author does anything: scheduler, binder and kubelet of the embedded control plane do the rest. */
describe.skipIf(!isRoot)(`a pod on the embedded control plane${mountsNeedRoot}`, () => {
  let plane: EmbeddedPlane;
  beforeAll(async () => {
    plane = await EmbeddedPlane.start(true);
  });
  afterAll(() => plane?.[Symbol.asyncDispose]());

  describe.each(adapterNames)('through the %s adapter', (adapter) => {
    it.each(['directory', 'loopback'])(
      `runs with its %s volume, which holds on to it and to what it wrote until both are gone`,
      async (backend) => {
        const stopping = new AbortController();
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const kubelet = kubeletOf(world, plane);
        await kubelet.start(stopping.signal);
        try {
          const limit = backend === 'directory' ? { limit: 'advisory' } : {};
          const className = await user.createClass({ parameters: { backend, ...limit } });
          const claim = await user.createClaim({ className, size: '16Mi' });
          const [first, second] = [
            podWith('first', claim.metadata.name),
            podWith('second', claim.metadata.name),
          ];
          await plane.api.create('Pod', first, stopping.signal);
          const running = await untilRunning(world, first);
          expect(running.spec?.nodeName).toBe('node-a');
          const volume = await user.untilBound(claim);
          const place = (pod: Pod): string =>
            join(kubelet.targetPathOf(`default/${pod.metadata.name}`, volume.metadata.name) ?? '', 'note');
          await writeFile(place(first), 'from the first');

          await user.delete('PersistentVolumeClaim', claim);
          expect((await user.find('PersistentVolumeClaim', claim))?.metadata.finalizers).toContain(
            'kubernetes.io/pvc-protection',
          );
          expect(await readFile(place(first), 'utf8')).toBe('from the first');
          await user.delete('Pod', first);
          await user.untilGone('PersistentVolume', volume, 20_000);
          await user.untilGone('Pod', first);

          const next = await user.createClaim({ className, name: claim.metadata.name, size: '16Mi' });
          await plane.api.create('Pod', second, stopping.signal);
          await untilRunning(world, second);
          const fresh = await user.untilBound(next);
          const target = kubelet.targetPathOf('default/second', fresh.metadata.name) ?? '';
          expect(existsSync(target)).toBe(true);
          expect(existsSync(join(target, 'note'))).toBe(false);
          await user.delete('Pod', second);
          await user.delete('PersistentVolumeClaim', next);
          await user.untilGone('PersistentVolume', fresh, 20_000);
          await world.assertNothingLeft();
        } finally {
          stopping.abort();
        }
      },
    );
  });
});

function kubeletOf(world: LoopWorld, plane: EmbeddedPlane): KubeletStandIn {
  const { node, user, folder } = world;
  return new KubeletStandIn({
    api: plane.api,
    nodeName: node.nodeName,
    driverName: user.driverName,
    rootPath: join(folder, 'kubelet'),
    driver: node.kubelet,
    directories: {
      make: async (path) => {
        await mkdir(path, { recursive: true, mode: 0o750 });
      },
      remove: async (path) => {
        if (existsSync(path)) await rmdir(path);
      },
    },
    finishPod: (key, uid) => plane.embedded.finishPod(key, uid),
    singleNodeMultiWriter: true,
    notices: { record: () => {} },
    clock: systemClock,
    log: silentLog,
  });
}

function podWith(name: string, claimName: string): Pod {
  return {
    metadata: { name, namespace: 'default' },
    spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }] },
  };
}

function untilRunning(world: LoopWorld, pod: Pod): Promise<Pod> {
  return eventually(`pod ${pod.metadata.name} to run`, async () => {
    const found = await world.user.find('Pod', pod);
    return found?.status?.phase === 'Running' && found;
  });
}
