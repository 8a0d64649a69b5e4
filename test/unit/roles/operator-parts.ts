import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import type { OperatorParts } from '../../../src/roles/operator-ports.ts';

type Unowned = Exclude<ReturnType<OperatorParts['unowned']>, 'none' | undefined>;

/** What is not there for a test: it must not be asked. */
export function none(): never {
  throw new Error('not asked for here');
}

/** Parts of a node that holds nothing, and of which only what a test brings along can be asked. */
export function partsWith(brought: {
  readonly disk?: Partial<OperatorParts['disk']>;
  readonly inventory?: Partial<OperatorParts['inventory']>;
  /** methods of the orphans and of adoption that are used */
  readonly orphans: object;
  readonly adoption?: object;
  readonly api?: 'none';
}): OperatorParts {
  const orphans = {
    alone: <T>(_: string, work: () => Promise<T>): Promise<T> => work(),
    ...brought.orphans,
  };
  return {
    nodeName: 'node-a',
    disk: {
      held: () => [],
      archived: () => [],
      poolTroubles: () => [],
      deleteVolume: none,
      removeArchived: none,
      forgetDisk: none,
      ...brought.disk,
    },
    inventory: {
      doomed: none,
      broken: none,
      litter: none,
      forgotten: none,
      uses: none,
      strays: none,
      ...brought.inventory,
    },
    // the methods that are used
    unowned: () => brought.api ?? ({ orphans, adoption: brought.adoption } as unknown as Unowned),
    adoptPath: none,
    clock: systemClock,
    log: silentLog,
  };
}
