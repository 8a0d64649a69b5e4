import { existsSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import type { RemoteNodeDriver } from '../../src/csi/node-client.ts';
import { volumePaths, type VolumePaths } from '../../src/embedded/kubelet-paths.ts';
import type { PersistentVolume } from '../../src/kube/objects.ts';
import { csiAccessMode, type KubeAccessMode } from '../../src/model/access-mode.ts';
import type { CallContext } from '../../src/model/csi-driver.ts';
import { statusCodeOf } from '../../src/model/status-code.ts';
import { eventually } from './eventually.ts';

/** One pod's use of one volume: what kubelet asks of the driver, with kubelet's paths. */
export class PodMount {
  readonly paths: VolumePaths;
  readonly #driver: RemoteNodeDriver;
  readonly #volume: PersistentVolume;

  constructor(driver: RemoteNodeDriver, volume: PersistentVolume, kubeletPath: string, podUid: string) {
    this.#driver = driver;
    this.#volume = volume;
    this.paths = volumePaths(kubeletPath, volume.spec.csi?.driver ?? '', volume, podUid);
  }

  /** @returns where the pod finds its volume */
  async start(options: { readonly readonly?: boolean } = {}): Promise<string> {
    const { csi, accessModes = [], mountOptions = [], volumeMode } = this.#volume.spec;
    const { stagingPath, targetPath, targetParentPath } = this.paths;
    const request = {
      volumeId: csi?.volumeHandle ?? '',
      stagingTargetPath: stagingPath,
      targetPath,
      readonly: options.readonly ?? false,
      capability: {
        accessMode: csiAccessMode((accessModes[0] ?? 'ReadWriteOnce') as KubeAccessMode, true),
        access:
          volumeMode === 'Block'
            ? ({ kind: 'block' } as const)
            : ({ kind: 'mount', fsType: csi?.fsType ?? '', mountFlags: mountOptions } as const),
      },
      volumeContext: csi?.volumeAttributes ?? {},
    };
    await mkdir(stagingPath, { recursive: true });
    await whileBusy(() => this.#driver.stage(request, soon()));
    await mkdir(targetParentPath, { recursive: true });
    await this.#driver.publish(request, soon());
    return targetPath;
  }

  async stop(): Promise<void> {
    const volumeId = this.#volume.spec.csi?.volumeHandle ?? '';
    const { stagingPath, targetPath, targetParentPath } = this.paths;
    await whileBusy(() => this.#driver.unpublish({ volumeId, targetPath }, soon()));
    if (existsSync(targetParentPath)) await rmdir(targetParentPath);
    await whileBusy(() => this.#driver.unstage({ volumeId, stagingTargetPath: stagingPath }, soon()));
    if (existsSync(stagingPath)) await rmdir(stagingPath);
  }
}

/** As kubelet, which asks again where the driver is at work on the volume. */
async function whileBusy(call: () => Promise<void>): Promise<void> {
  await eventually('an answer other than ABORTED', async () => {
    try {
      await call();
      return true;
    } catch (error) {
      if (statusCodeOf(error) === 'ABORTED') return false;
      throw error;
    }
  });
}

function soon(): CallContext {
  return { signal: AbortSignal.timeout(30_000), deadlineMs: Date.now() + 30_000 };
}
