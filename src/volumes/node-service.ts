import type { CallContext, VolumeCondition } from '../model/csi-driver.ts';
import {
  isInlinePublish,
  type NodeDriver,
  type NodeExpandRequest,
  type NodeInfo,
  type PublishRequest,
  type StageRequest,
  type UsageEntry,
} from '../model/node-driver.ts';
import { expandMounted } from './expand-volume.ts';
import type { InlineEnvironment, InlineSettings } from './inline/inline-environment.ts';
import { publishInline } from './inline/inline-publish.ts';
import { sweepInline } from './inline/inline-sweep.ts';
import { unpublishEither } from './inline/inline-unpublish.ts';
import { hostTargets, type NodeEnvironment, type TargetWords } from './published/node-environment.ts';
import { withPoolCondition } from './pools/pool-condition.ts';
import { publishVolume } from './published/publish-volume.ts';
import { requirePublished } from './published/require-published.ts';
import { stageVolume, unstageVolume } from './published/stage-volume.ts';
import { Turns } from './inline/turns.ts';
import { backendOf, type VolumeEnvironment } from './volume-environment.ts';

/** What the programs for each take has to fit into the memory of our container. */
const inlineAtOnce = 8;

/** The driver's node half in this process. Calls for one volume exclude each other; stats never wait. */
export class NodeService implements NodeDriver {
  readonly #environment: NodeEnvironment;
  readonly #inline: InlineEnvironment;
  readonly #info: NodeInfo;

  constructor(
    environment: VolumeEnvironment,
    node: { readonly nodeId: string; readonly maxVolumesPerNode: number },
    inline: InlineSettings,
    targets: TargetWords = hostTargets,
  ) {
    this.#environment = { ...environment, targets, lifecycle: 'persistent' };
    const turns = { making: new Turns(inlineAtOnce), ending: new Turns(inlineAtOnce) };
    this.#inline = { ...environment, targets, lifecycle: 'inline', inline, turns };
    this.#info = { ...node, accessibleTopology: environment.topology };
  }

  nodeInfo(): NodeInfo {
    return this.#info;
  }

  stage(request: StageRequest, call: CallContext): Promise<void> {
    return stageVolume(this.#environment, request, call);
  }

  unstage(
    request: { readonly volumeId: string; readonly stagingTargetPath: string },
    call: CallContext,
  ): Promise<void> {
    return unstageVolume(this.#environment, request, call);
  }

  publish(request: PublishRequest, call: CallContext): Promise<void> {
    return isInlinePublish(request)
      ? publishInline(this.#inline, request, call)
      : publishVolume(this.#environment, request, call);
  }

  unpublish(
    request: { readonly volumeId: string; readonly targetPath: string },
    call: CallContext,
  ): Promise<void> {
    return unpublishEither(this.#inline, request, call);
  }

  expand(request: NodeExpandRequest, call: CallContext): Promise<bigint> {
    return expandMounted(this.#environment, request, call);
  }

  /** Removes the inline volumes of pods that are gone without a word; see `sweepInline`. */
  sweepInline(call: CallContext): Promise<void> {
    return sweepInline(this.#inline, call);
  }

  async stats(request: {
    readonly volumeId: string;
    readonly volumePath: string;
  }): Promise<{ readonly usage: readonly UsageEntry[]; readonly condition: VolumeCondition }> {
    const { pool, record } = await requirePublished(this.#environment, request);
    const { spec } = record;
    const backend = backendOf(this.#environment, spec.backend);
    const place = pool.place(spec.id);
    const [usage, condition] = await Promise.all([
      backend.usage(place, spec, request.volumePath),
      backend.condition(place, spec),
    ]);
    const { pools } = this.#environment;
    return { usage, condition: await withPoolCondition(pool, pools.open(), spec, condition) };
  }
}
