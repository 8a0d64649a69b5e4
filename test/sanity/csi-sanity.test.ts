import { readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { channelTo } from '../../src/csi/channel.ts';
import { connectCsiDriver } from '../../src/csi/client.ts';
import { csi } from '../../src/csi/wire.ts';
import { backendKey } from '../../src/model/volume.ts';
import { runCsiSanity, type SanityCase } from '../support/csi-sanity.ts';
import { whyNoGo } from '../support/go-tools.ts';
import { LoamProcess } from '../support/loam-process.ts';
import { type PoolKind, ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';
import { anyCall, send } from '../support/served-driver.ts';

interface Configuration {
  readonly title: string;
  readonly accessType: 'mount' | 'block';
  readonly parameters: Readonly<Record<string, string>> & { readonly backend: string };
  readonly snapshotParameters?: Readonly<Record<string, string>>;
  /** what such a volume can really be changed to */
  readonly mutableParameters: Readonly<Record<string, string>>;
}

/** Every kind of pool, and what is put on it. */
const pools: readonly {
  readonly kind: PoolKind;
  readonly flags: string;
  readonly configurations: readonly Configuration[];
}[] = [
  {
    kind: 'plain',
    flags: '',
    configurations: [
      {
        title: 'directory, mount',
        accessType: 'mount',
        parameters: { backend: 'directory', limit: 'advisory' },
        snapshotParameters: { consistency: 'accept' },
        mutableParameters: { onDelete: 'scrub', scrub: 'zero' },
      },
      {
        title: 'loopback, mount',
        accessType: 'mount',
        parameters: { backend: 'loopback' },
        mutableParameters: { provisioning: 'thick' },
      },
      {
        title: 'loopback, block',
        accessType: 'block',
        parameters: { backend: 'loopback' },
        mutableParameters: { provisioning: 'thick' },
      },
    ],
  },
  {
    kind: 'xfs',
    flags: '',
    configurations: [
      {
        title: 'loopback on reflink, mount',
        accessType: 'mount',
        parameters: { backend: 'loopback' },
        mutableParameters: { provisioning: 'thick' },
      },
    ],
  },
  {
    kind: 'btrfs',
    flags: ',tenants=trusted',
    configurations: [
      {
        title: 'btrfs, mount',
        accessType: 'mount',
        parameters: { backend: 'btrfs' },
        mutableParameters: { limit: 'advisory' },
      },
    ],
  },
];

/** Enough for a small ext4, and the suite doubles it once. */
const volumeSizeBytes = 64 * 1024 * 1024;
const poolMiB = 4096;

/** What csi-sanity says when it skips a case, and the capability (by service) that would have made it run. */
const reasonsToSkip: readonly (readonly [message: RegExp, capability: string])[] = [
  [/^(Create|Delete)?Snapshot not supported/, 'controller CREATE_DELETE_SNAPSHOT'],
  [/^ListSnapshots not supported/, 'controller LIST_SNAPSHOTS'],
  [/^GetSnapshot not supported/, 'controller GET_SNAPSHOT'],
  [/^SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported/, 'plugin SNAPSHOT_ACCESSIBILITY_CONSTRAINTS'],
  [/^Volume Cloning not supported/, 'controller CLONE_VOLUME'],
  [/^(ControllerModifyVolume|Modify [Vv]olume) not supported/, 'controller MODIFY_VOLUME'],
  [/^Controller(Publish|Unpublish)Volume not supported/, 'controller PUBLISH_UNPUBLISH_VOLUME'],
  [/^Controller Publish, UnpublishVolume not supported/, 'controller PUBLISH_UNPUBLISH_VOLUME'],
  [/^ControllerPublishVolume.readonly field not supported/, 'controller PUBLISH_READONLY'],
  [/^ControllerExpandVolume not supported/, 'controller EXPAND_VOLUME'],
  [/^NodeExpandVolume not supported/, 'node EXPAND_VOLUME'],
  [/^GroupControllerService not supported/, 'plugin GROUP_CONTROLLER_SERVICE'],
  [/^VolumeGroupSnapshots not supported/, 'plugin GROUP_CONTROLLER_SERVICE'],
  // of CSI 1.13, which csi-sanity knows already
  [/^ControllerGetVolumeHealth not supported/, 'controller GET_VOLUME_HEALTH'],
  [/^ControllerListVolumeHealth not supported/, 'controller LIST_VOLUME_HEALTH'],
  [/^NodeGetVolumeHealth not supported/, 'node GET_VOLUME_HEALTH'],
  [/^NodeGetStorageHealth not supported/, 'node GET_STORAGE_HEALTH'],
];

/** What no pool here may lack, or its cases would be skipped unseen. */
const everywhere = [
  'controller CREATE_DELETE_SNAPSHOT',
  'controller LIST_SNAPSHOTS',
  'controller GET_SNAPSHOT',
  'controller CLONE_VOLUME',
  'controller EXPAND_VOLUME',
  'controller MODIFY_VOLUME',
  'node EXPAND_VOLUME',
];

const noGo = await whyNoGo();

describe.each(pools)('csi-sanity on a $kind pool', ({ kind, flags, configurations }) => {
  const why = noGo === undefined ? whyNoScratchPool(kind) : ` (skipped: ${noGo})`;
  let scratch: ScratchPool;
  let loam: LoamProcess;
  beforeAll(async () => {
    if (why !== '') return;
    scratch = ScratchPool.make(kind, poolMiB);
    loam = await LoamProcess.start({
      folder: join(scratch.basePath, 'loam'),
      pools: [`default=${scratch.path}${flags}`],
    });
  });
  afterAll(async () => {
    await loam?.terminate();
    const left = scratch?.leftovers() ?? [];
    await scratch?.remove();
    expect(left).toEqual([]);
  });

  it.skipIf(why !== '').each(configurations)(
    `makes $title volumes when asked as csi-sanity asks${why}`,
    async ({ accessType, parameters }) => {
      const driver = connectCsiDriver(loam.csiSocketPath);
      const access =
        accessType === 'block'
          ? ({ kind: 'block' } as const)
          : ({ kind: 'mount', fsType: '', mountFlags: [] } as const);
      const volume = await driver.createVolume(
        {
          name: 'sanity-probe',
          capacityRange: { requiredBytes: BigInt(volumeSizeBytes), limitBytes: 0n },
          capabilities: [{ accessMode: 'SINGLE_NODE_WRITER', access }],
          parameters,
        },
        anyCall(),
      );
      expect(volume.volumeContext[backendKey]).toBe(parameters.backend);
      await driver.deleteVolume(volume, anyCall());
      driver.close();
    },
  );

  it.skipIf(why !== '').each(configurations)(
    `passes with $title, skipping only what is not advertised${why}`,
    async ({ title, snapshotParameters = {}, ...options }) => {
      const folder = join(scratch.basePath, title.replaceAll(/\W+/g, '-'));
      await mkdir(folder);
      const { cases, output } = await runCsiSanity({
        ...options,
        snapshotParameters,
        folder,
        socketPath: loam.csiSocketPath,
        volumeSizeBytes,
      });
      const count = (state: SanityCase['state']) => cases.filter((one) => one.state === state).length;
      process.stderr.write(
        `csi-sanity, ${title}: ${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped, ${count('pending')} pending upstream\n`,
      );
      const failed = cases.filter(({ state }) => state === 'failed' || state === 'other');
      expect(failed, `${output}\n${loam.logTail(40)}`).toEqual([]);
      expect(count('passed')).toBeGreaterThanOrEqual(75);
      const advertised = await advertisedBy(loam.csiSocketPath);
      for (const capability of everywhere) expect(advertised).toContain(capability);
      const unexplained = cases.filter((one) => one.state === 'skipped' && !isExplained(one, advertised));
      expect(unexplained).toEqual([]);
      await vi.waitFor(() => expect(bytesOwnersIn(scratch.path)).toEqual([]), { timeout: 10_000 });
    },
  );
});

/** Volumes, snapshots and trash entries that are left in a pool. */
function bytesOwnersIn(poolPath: string): string[] {
  return ['volumes', 'snapshots', 'trash'].flatMap((folder) => readdirSync(join(poolPath, folder)));
}

function isExplained({ message }: SanityCase, advertised: ReadonlySet<string>): boolean {
  const capability = reasonsToSkip.find(([pattern]) => pattern.test(message))?.[1];
  return capability !== undefined && !advertised.has(capability);
}

interface Answer {
  readonly capabilities: readonly {
    readonly rpc?: { readonly type: string };
    readonly service?: { readonly type: string };
  }[];
}

/** Everything that the driver says it can do, each with the service that says it. */
async function advertisedBy(socketPath: string): Promise<ReadonlySet<string>> {
  const identity = new csi.Identity(...channelTo(socketPath));
  const controller = new csi.Controller(...channelTo(socketPath));
  const node = new csi.Node(...channelTo(socketPath));
  try {
    const answers = [
      ['plugin', await send(identity, 'getPluginCapabilities', {})],
      ['controller', await send(controller, 'controllerGetCapabilities', {})],
      ['node', await send(node, 'nodeGetCapabilities', {})],
    ] as const;
    return new Set(
      answers.flatMap(([service, answer]) =>
        (answer as Answer).capabilities.map(
          ({ rpc, service: plugin }) => `${service} ${rpc?.type ?? plugin?.type}`,
        ),
      ),
    );
  } finally {
    for (const client of [identity, controller, node]) client.close();
  }
}
