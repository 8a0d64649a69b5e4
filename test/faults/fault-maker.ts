import { setTimeout as sleep } from 'node:timers/promises';
import type { KindName } from '../../src/kube/kinds.ts';
import { isLong, outageMs } from './campaign.ts';
import { commandFailures, failingCommands } from './command-faults.ts';
import type { FaultWorld } from './fault-world.ts';
import type { Lots } from './lots.ts';

const codes = [409, 410, 429, 500, 503] as const;
const verbs = ['create', 'patch', 'delete', 'get', 'list', 'watch'] as const;
const kinds: readonly KindName[] = [
  'PersistentVolume',
  'PersistentVolumeClaim',
  'VolumeSnapshotContent',
  'StorageClass',
];

type Fault = (world: FaultWorld, lots: Lots) => Promise<void> | void;

const apiFaults: readonly Fault[] = [
  ({ plane }, lots) =>
    plane.embedded.faults.answerNext(lots.oneOf(codes), { verb: lots.oneOf(verbs) }, lots.between(1, 4)),
  ({ plane }, lots) =>
    plane.embedded.faults.answerNext(lots.oneOf(codes), { kind: lots.oneOf(kinds) }, lots.between(1, 4)),
  ({ plane }, lots) =>
    plane.embedded.faults.loseAnswers(
      { verb: lots.oneOf(['create', 'patch', 'delete']) },
      lots.between(1, 2),
    ),
  ({ plane }) => void plane.embedded.faults.dropWatches(),
  ({ plane }) => {
    plane.embedded.faults.compactHistory();
    plane.embedded.faults.dropWatches();
  },
  async ({ plane }, lots) => {
    plane.embedded.faults.stallWatches(true);
    await sleep(lots.between(100, 1000));
    plane.embedded.faults.stallWatches(false);
  },
  async ({ plane }, lots) => {
    const end = plane.embedded.faults.slowDown(lots.between(200, 2000), {
      verb: lots.oneOf(verbs),
      kind: lots.oneOf(kinds),
    });
    await sleep(lots.between(500, 3000));
    end();
  },
  async ({ plane }, lots) => {
    await plane.takeAway();
    await sleep(lots.between(100, 2000));
    await plane.bringBack();
  },
];

export async function outage({ plane }: Pick<FaultWorld, 'plane'>): Promise<void> {
  await plane.takeAway();
  await sleep(outageMs);
  plane.embedded.faults.compactHistory();
  await plane.bringBack();
}

const busyMs = 15_000;
const inARow = 6;

/** Makes one thing after another fail at moments drawn by lot, with breaks in which work can go on, until told to stop or a while has passed. */
export class FaultMaker {
  apiFaults = 0;
  readonly #world: FaultWorld;
  readonly #lots: Lots;
  readonly #running: Promise<void>;
  #isStopping = false;

  constructor(world: FaultWorld, lots: Lots) {
    this.#world = world;
    this.#lots = lots;
    this.#running = this.#run();
  }

  /** The fault under way is brought to its end. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const endMs = performance.now() + busyMs;
    const outageAt = this.#lots.isSo(isLong ? 0.1 : 0.2) ? this.#lots.between(1, 8) : 0;
    for (let turn = 1; !this.#isStopping && performance.now() < endMs; turn += 1) {
      await sleep(this.#lots.between(20, 500));
      if (!this.#isStopping) await (turn === outageAt ? this.#outage() : this.#one());
      if (turn % inARow === 0) await this.#rest();
    }
  }

  /** Until the node works again, and a moment longer. */
  async #rest(): Promise<void> {
    await this.#world.untilUp().catch(() => {});
    await sleep(this.#lots.between(500, 2000));
  }

  /** The API server is away for long, and has forgotten the past when it is back. */
  async #outage(): Promise<void> {
    this.apiFaults += 1;
    await outage(this.#world);
  }

  async #one(): Promise<void> {
    const lots = this.#lots;
    const { node, commands } = this.#world;
    switch (
      lots.oneOf(['kill', 'kill', 'api', 'api', 'api', 'command', 'command', 'command', 'disk'] as const)
    ) {
      case 'kill':
        await node.kill();
        break;
      case 'api':
        this.apiFaults += 1;
        await lots.oneOf(apiFaults)(this.#world, lots);
        break;
      case 'command':
        commands.failNext(lots.oneOf(failingCommands), lots.oneOf(commandFailures));
        break;
      case 'disk':
        await node.failDisk(lots.oneOf([0.01, 0.03, 0.1]), lots.between(1, 1e6));
        await sleep(lots.between(100, 1000));
        await node.failDisk(0, 0);
    }
  }
}
